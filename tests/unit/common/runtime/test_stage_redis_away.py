"""The loop while Redis does not answer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError

from common.state.keys import RAW
from common.state.stream import SettleResult
from common.state.verdict import DeadLetter, Entry, Retry, Settle
from tests.doubles.memory_stream import MemoryStream
from tests.support.stage_bench import LIMITS, Bench, all_loaded


class FlakyStream(MemoryStream):
    """Redis that goes away before or after a settlement ran."""

    fail_before = 0
    fail_after = 0

    def settle(self, entry: Entry, verdict: Settle, stage: str) -> SettleResult:
        if self.fail_before:
            self.fail_before -= 1
            raise RedisConnectionError("lost before")
        result = super().settle(entry, verdict, stage)
        if self.fail_after:
            self.fail_after -= 1
            raise RedisConnectionError("lost after")
        return result


@pytest.mark.parametrize("when", ["fail_before", "fail_after"])
def test_redis_lost_around_a_settlement_settles_exactly_once(when: str) -> None:
    bench = Bench(all_loaded)
    stream = FlakyStream(bench.broker, RAW, "w1")
    setattr(stream, when, 2 if when == "fail_before" else 1)
    bench.stage = bench.make_stage(stream)
    bench.commit((b"a", 3))

    bench.stage.step()

    assert bench.broker.ledger["q@hot|loaded"] == 3
    assert bench.balanced()
    assert bench.ready["stream"] == (True, "")


@pytest.mark.parametrize("when", ["fail_before", "fail_after"])
def test_a_dead_letter_is_copied_though_the_reply_was_lost(when: str) -> None:
    dead = DeadLetter("rejected", "why", b"x", 3)
    copied: list[tuple[str, DeadLetter]] = []
    bench = Bench(lambda _: Settle(dead=[dead]))
    stream = FlakyStream(bench.broker, RAW, "w1")
    setattr(stream, when, 1)
    bench.stage = bench.make_stage(stream, lambda entry, dead: copied.append((entry.id, dead)))
    bench.commit((b"a", 3))

    bench.stage.step()

    (kept,) = bench.broker.dead
    assert copied == [(kept["entry"], dead)]


class FullStream(MemoryStream):
    """Redis at maxmemory: what adds nothing passes, and frees some."""

    refusals = 0
    most_refusals = 0

    def settle(self, entry: Entry, verdict: Settle, stage: str) -> SettleResult:
        if verdict.dead and self.refusals < self.most_refusals:
            self.refusals += 1
            raise OutOfMemoryError("command not allowed when used memory > 'maxmemory'")
        return super().settle(entry, verdict, stage)


def test_what_needs_memory_that_redis_does_not_have_keeps_nothing_else_waiting() -> None:
    dead = Settle(dead=[DeadLetter("rejected", "why", b"x", 3)])
    bench = Bench(lambda entry: dead if entry.payload == b"bad" else all_loaded(entry))
    stream = FullStream(bench.broker, RAW, "w1")
    stream.most_refusals = 20
    bench.stage = bench.make_stage(stream)
    bench.commit((b"bad", 3), (b"good", 5))

    bench.stage.step()

    assert bench.broker.ledger["q@hot|loaded"] == 5
    assert stream.refusals == 1
    assert bench.broker.audit().accounts["q@hot"].in_flight == 3
    assert bench.broker.state(RAW).crashes == {}
    stream.most_refusals = 0
    bench.now_ms += int(LIMITS.check_every_seconds * 1000)
    bench.stage.step()
    assert [one["samples"] for one in bench.broker.dead] == [3]
    assert bench.balanced()


class HangingStream(MemoryStream):
    """Redis that takes no release, each time for as long as a socket waits."""

    def release(
        self, ids: Sequence[str], after_seconds: float = 0.0, *, crashed: bool = False
    ) -> int:
        raise RedisConnectionError("Timeout reading from socket")


def test_the_stage_lives_while_each_entry_waits_for_redis() -> None:
    bench = Bench(lambda _: Retry(1.0, "the sink is away"))
    bench.stage = bench.make_stage(HangingStream(bench.broker, RAW, "w1"))
    bench.commit(*[(b"a", 3)] * 4)

    bench.stage.step()

    assert bench.ticks == 4


class AwayStream(MemoryStream):
    away = True

    def read(self, count: int, block_seconds: float) -> list[Entry]:
        if self.away:
            raise RedisConnectionError("Connection refused")
        return super().read(count, block_seconds)


def test_redis_away_is_waited_out() -> None:
    bench = Bench(all_loaded)
    stream = AwayStream(bench.broker, RAW, "w1")
    bench.stage = bench.make_stage(stream)
    bench.commit((b"a", 3))
    bench.stage.step()
    assert bench.ready["stream"] == (False, "Connection refused")

    stream.away = False
    bench.stage.step()

    assert bench.ready["stream"] == (True, "")
    assert bench.broker.ledger["q@hot|loaded"] == 3
