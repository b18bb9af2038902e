"""Workers on the stream in memory: no order of events loses a sample or settles one twice."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from common.state.keys import POINTS, RAW
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import DeadLetter, Entry, Output, Settle
from tests.doubles.memory_broker import MemoryBroker
from tests.doubles.memory_stream import MemoryStream

Held = tuple[RedisStream, str, Entry]


class Workers(RuleBasedStateMachine):
    """Two stages whose workers read, claim, renew, settle, release, die, and wake up late."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1_000_000
        self.broker = MemoryBroker(lambda: self.now_ms)
        self.broker.state(RAW)
        self.broker.state(POINTS)
        self.names = itertools.count()
        self.windows = itertools.count()
        self.settled_entries: set[tuple[str, str]] = set()
        self.payload_samples: dict[bytes, int] = {}

    def worker(self, inbound: str) -> RedisStream:
        return MemoryStream(
            self.broker,
            inbound,
            f"worker{next(self.names)}",
            outbound=POINTS if inbound == RAW else None,
            lease_seconds=10,
        )

    @rule(sizes=st.lists(st.integers(0, 50), max_size=4))
    def commit_window(self, sizes: list[int]) -> None:
        payloads = [(b"p", size) for size in sizes]
        self.broker.commit(RAW, "q", "hot", "expr", f"w{next(self.windows)}", payloads)

    @rule(target=held, inbound=st.sampled_from([RAW, POINTS]), count=st.integers(1, 3))
    def read(self, inbound: str, count: int) -> object:
        stream = self.worker(inbound)
        return multiple(*((stream, inbound, entry) for entry in stream.read(count, 0)))

    @rule(target=held, inbound=st.sampled_from([RAW, POINTS]), count=st.integers(1, 3))
    def claim(self, inbound: str, count: int) -> object:
        stream = self.worker(inbound)
        claimed = stream.claim(count)
        assert not claimed.deleted
        if any(entry.crashes for entry in claimed.entries):
            assert len(claimed.entries) == 1, "a suspect is handed out alone"
        return multiple(*((stream, inbound, entry) for entry in claimed.entries))

    @rule(item=held, shares=st.tuples(*[st.integers(0, 3)] * 4))
    def settle(self, item: Held, shares: tuple[int, int, int, int]) -> None:
        stream, inbound, entry = item
        parts = divided(entry.samples, shares)
        verdict = Settle(
            outputs=[Output(b"o", parts[0])] if inbound == RAW else [],
            loaded=parts[0] if inbound == POINTS else 0,
            drops={"nan": parts[1], "inf": parts[2]},
            dead=[DeadLetter("rejected", "", b"d", parts[3])] if parts[3] else [],
        )
        result = stream.settle(entry, verdict, inbound)
        if result is SettleResult.OK:
            assert (inbound, entry.id) not in self.settled_entries, "settled twice"
            self.settled_entries.add((inbound, entry.id))
        else:
            assert result is SettleResult.REFUSED

    @rule(item=held, wrong=st.integers(1, 5))
    def settle_with_a_wrong_sum(self, item: Held, wrong: int) -> None:
        stream, inbound, entry = item
        result = stream.settle(entry, Settle(loaded=entry.samples + wrong), inbound)
        assert result in (SettleResult.REFUSED, SettleResult.MISMATCH)

    @rule(item=held, after_seconds=st.sampled_from([0, 1, 30]), crashed=st.booleans())
    def release(self, item: Held, after_seconds: int, crashed: bool) -> None:
        item[0].release([item[2].id], after_seconds, crashed=crashed)

    @rule(item=held)
    def renew(self, item: Held) -> None:
        lost = item[0].renew([item[2].id])
        owner = self.broker.state(item[1]).pending.get(item[2].id)
        assert bool(lost) == (owner is None or owner.consumer != item[0].consumer)

    @rule(item=consumes(held))
    def die(self, item: Held) -> None:
        """The worker is dead; nothing will ever happen on its behalf."""

    @rule(seconds=st.sampled_from([1, 5, 11, 60]))
    def time_passes(self, seconds: int) -> None:
        self.now_ms += seconds * 1000

    @invariant()
    def the_ledger_balances(self) -> None:
        audit = self.broker.audit()
        assert audit.imbalance_samples == 0
        assert audit.lost_samples == 0
        assert all(depth.unaccounted_entries == 0 for depth in audit.streams.values())

    @invariant()
    def a_window_is_unsettled_exactly_while_it_has_entries(self) -> None:
        waiting = {
            record.window_id
            for state in self.broker.streams.values()
            for record in state.in_flight.values()
        }
        assert waiting == set(self.broker.unsettled)

    def teardown(self) -> None:
        """However it went: one patient worker for each stage brings everything to its end."""
        for inbound in (RAW, POINTS):
            self.now_ms += 10_000_000
            for _ in range(10_000):
                stream = self.worker(inbound)
                entries = [*stream.claim(5).entries] or stream.read(5, 0)
                if not entries:
                    break
                for entry in entries:
                    outputs = [Output(b"o", entry.samples)] if inbound == RAW else []
                    verdict = Settle(outputs=outputs, loaded=0 if outputs else entry.samples)
                    assert stream.settle(entry, verdict, inbound) is SettleResult.OK
        account = self.broker.audit().total
        assert account.in_flight == 0
        assert account.imbalance_samples == 0
        assert self.broker.unsettled == {}


def divided(samples: int, shares: tuple[int, ...]) -> list[int]:
    """``samples`` divided in proportion to ``shares``; the first part takes what is left over."""
    total = sum(shares) or 1
    parts = [samples * share // total for share in shares]
    parts[0] += samples - sum(parts)
    return parts


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
