"""Transformers and loaders: they read, claim, settle, release, die and wake up late."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from common.state.keys import RAW
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import DeadLetter, Output, Settle
from tests.window_machine.actions import LATE, OUTCOME, OUTCOMES, STREAMS, chosen, happens
from tests.window_machine.expected import HeldEntry, digest_of, payload_of, units_in
from tests.window_machine.extractors import ExtractorActions
from tests.window_machine.world import ENTRY_LEASE_SECONDS, STAGES


class StageActions(ExtractorActions):
    """What workers do with entries."""

    def worker(self, inbound: str) -> tuple[RedisStream, str]:
        name = f"worker{next(self.workers)}"
        return self.world.stream(inbound, name), name

    def take(self, item: HeldEntry) -> HeldEntry:
        _, inbound, worker, entry = item
        self.expected.holders[inbound, entry.id] = worker, self.world.now_ms()
        self.held_entries.append(item)
        return item

    @happens(lambda self: self.something_unsettled, inbound=STREAMS, count=range(1, 4))
    def read(self, inbound: str, count: int) -> None:
        """Whoever reads them may well die, or sleep for long."""
        self.were_read(inbound, count)

    def were_read(self, inbound: str, count: int) -> list[HeldEntry]:
        stream, worker = self.worker(inbound)
        entries = stream.read(count, 0)
        assert all((inbound, entry.id) not in self.expected.holders for entry in entries)
        return [self.take((stream, inbound, worker, entry)) for entry in entries]

    @happens(lambda self: bool(self.expected.holders), inbound=STREAMS, count=range(1, 4))
    def claim(self, inbound: str, count: int) -> None:
        """What was released, or kept for too long, goes to somebody else."""
        self.claimed(inbound, count)

    def claimed(self, inbound: str, count: int) -> list[HeldEntry]:
        stream, worker = self.worker(inbound)
        claimed = stream.claim(count)
        assert not claimed.deleted
        if any(entry.crashes for entry in claimed.entries):
            assert len(claimed.entries) == 1, "a suspect is handed out alone"
        for entry in claimed.entries:
            holder, ms = self.expected.holders[inbound, entry.id]
            until_ms = ms + ENTRY_LEASE_SECONDS * 1000 if holder else ms
            assert until_ms <= self.world.now_ms(), "taken from whoever still had it"
            died = self.expected.crashes[inbound, entry.id] + bool(holder)
            assert entry.crashes == died
            self.expected.crashes[inbound, entry.id] = died
        return [self.take((stream, inbound, worker, entry)) for entry in claimed.entries]

    def holds(self, item: HeldEntry) -> bool:
        _, inbound, worker, entry = item
        return self.expected.holders.get((inbound, entry.id), ("", 0))[0] == worker

    @happens(
        lambda self: bool(self.held_entries),
        weight=3,
        late=LATE,
        which=range(10),
        what=("settle", "settle", "renew", "release", "fail", "wrong sum"),
        outcomes=OUTCOMES,
        number=range(4),
    )
    def carry_on(
        self, late: bool, which: int, what: str, outcomes: Sequence[str], number: int
    ) -> None:
        """Whatever can be done with an entry by one who holds it, or only believes to."""
        item = chosen(self.held_entries, self.holds, late, which)
        match what:
            case "settle":
                self.settle(item, outcomes)
            case "renew":
                self.renew_entry(item)
            case "wrong sum":
                self.settle_with_a_wrong_sum(item, number + 1)
            case _:
                # A worker releases all that it has in hand.
                for one in [one for one in self.held_entries if one[2] == item[2]]:
                    self.release(one, 50 * (number % 2), crashed=what == "fail")

    @happens(
        lambda self: self.something_unsettled, inbound=STREAMS, count=range(1, 5), outcomes=OUTCOMES
    )
    def work(self, inbound: str, count: int, outcomes: Sequence[str]) -> None:
        """The ordinary way of entries."""
        for item in self.claimed(inbound, count) or self.were_read(inbound, count):
            self.settle(item, outcomes)

    def settle(self, item: HeldEntry, outcomes: Sequence[str]) -> None:
        """Each sample has its outcome, in turn; the good ones go on, as one output or as two."""
        stream, inbound, _, entry = item
        dealt: dict[str, list[str]] = {outcome: [] for outcome in OUTCOME}
        for unit, outcome in zip(units_in(entry.payload), itertools.cycle(outcomes), strict=False):
            dealt[outcome].append(unit)
        raw = inbound == RAW
        outputs = [part for part in (dealt["good"], dealt["too"]) if part and raw]
        loaded = [] if raw else dealt["good"] + dealt["too"]
        bad = dealt["bad"]
        verdict = Settle(
            outputs=[Output(payload_of(part), len(part), digest_of(part)) for part in outputs],
            loaded=len(loaded),
            drops={"nan": len(dealt["nan"])},
            dead=[DeadLetter("rejected", "", payload_of(bad), len(bad))] if bad else [],
            digest=digest_of(loaded),
        )
        if entry.digest:
            assert entry.digest == digest_of(units_in(entry.payload)).text
        result = stream.settle(entry, verdict, STAGES[inbound])
        assert result is (SettleResult.OK if self.holds(item) else SettleResult.REFUSED)
        if result is not SettleResult.OK:
            return
        del self.expected.holders[inbound, entry.id]
        for outcome, units in (("loaded", loaded), ("nan", dealt["nan"])):
            assert not set(units) & self.expected.outcomes.keys(), "settled twice"
            self.expected.outcomes.update(dict.fromkeys(units, outcome))
        replay = entry.window_id not in self.expected.waiting
        self.settled_of(entry.window_id, len(outputs) - 1)
        self.expected.settle(entry.window_id, loaded, replay=replay)

    def settled_of(self, window_id: str, change: int) -> None:
        """So many entries more of a window wait, if it still waits for any."""
        if window_id in self.expected.waiting:
            self.expected.waiting[window_id] += change
            if not self.expected.waiting[window_id]:
                del self.expected.waiting[window_id]

    def settle_with_a_wrong_sum(self, item: HeldEntry, wrong: int) -> None:
        stream, inbound, _, entry = item
        verdict = Settle(loaded=entry.samples + wrong)
        result = stream.settle(entry, verdict, STAGES[inbound])
        assert result is (SettleResult.MISMATCH if self.holds(item) else SettleResult.REFUSED)

    def release(self, item: HeldEntry, after_seconds: int, crashed: bool) -> None:
        stream, inbound, _, entry = item
        released = stream.release([entry.id], after_seconds, crashed=crashed)
        assert released == self.holds(item)
        if released:
            until_ms = self.world.now_ms() + after_seconds * 1000
            self.expected.holders[inbound, entry.id] = "", until_ms
            self.expected.crashes[inbound, entry.id] += crashed

    def renew_entry(self, item: HeldEntry) -> None:
        stream, inbound, worker, entry = item
        lost = stream.renew([entry.id])
        assert lost == ([] if self.holds(item) else [entry.id])
        if not lost:
            self.expected.holders[inbound, entry.id] = worker, self.world.now_ms()
