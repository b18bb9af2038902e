"""For how long the loop waits for new entries, and what it says of Redis then."""

from __future__ import annotations

from dataclasses import replace

from common.state.keys import RAW
from common.state.stream import Claimed
from common.state.verdict import Entry, Retry
from tests.doubles.memory_stream import MemoryStream
from tests.support.stage_bench import LIMITS, Bench, all_loaded


class WaitingStream(MemoryStream):
    waited_seconds: list[float]
    claims = 0
    alone = False

    def claim(self, count: int, *, from_head: bool = False) -> Claimed:
        self.claims += 1
        return replace(super().claim(count, from_head=from_head), alone=self.alone)

    def read(self, count: int, block_seconds: float) -> list[Entry]:
        self.waited_seconds.append(block_seconds)
        return super().read(count, block_seconds)


def test_it_waits_less_long_where_an_entry_that_was_released_may_be_due() -> None:
    now = 0.0
    bench = Bench(lambda _: Retry(0.5, "busy"))
    stream = WaitingStream(bench.broker, RAW, "w1")
    stream.waited_seconds = []
    limits = replace(LIMITS, block_seconds=3.5, block_held_seconds=2.0)
    bench.stage = bench.make_stage(stream, limits=limits, clock=lambda: now)
    bench.stage.step()
    bench.commit((b"a", 3))
    bench.stage.step()
    bench.stage.step()
    now = 61.0
    bench.stage.step()
    assert stream.waited_seconds == [3.5, 3.5, 2.0, 3.5]


def test_whatever_redis_serves_shows_that_it_does() -> None:
    bench = Bench(all_loaded)
    answers: list[int] = []
    bench.stage._life.answered = lambda: answers.append(1)
    bench.stage.step()
    assert len(answers) == 1, "a read"
    bench.commit((b"a", 3))
    bench.stage.step()
    assert len(answers) == 3, "a read and a settlement"


def test_where_nobody_can_leave_anything_behind_it_seldom_looks_for_that() -> None:
    now = 0.0
    bench = Bench(lambda _: Retry(0.5, "busy"))
    limits = replace(LIMITS, claim_every_seconds=0.25, claim_alone_seconds=15.0)
    stream = WaitingStream(bench.broker, RAW, "w1")
    stream.waited_seconds, stream.alone = [], True
    bench.stage = bench.make_stage(stream, limits=limits, clock=lambda: now)
    for now in (0.0, 1.0, 14.0):  # noqa: B007 - the stage's clock
        bench.stage.step()
    assert stream.claims == 1
    now = 15.0
    bench.stage.step()
    assert stream.claims == 2
    bench.commit((b"a", 3))
    bench.stage.step()
    now = 15.5
    bench.stage.step()
    assert stream.claims == 3, "it has released one itself"
