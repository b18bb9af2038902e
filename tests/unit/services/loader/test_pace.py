"""No more bytes are posted in a second than configured."""

from __future__ import annotations

from common.state.verdict import Retry, Settle
from services.loader.pace import Pace
from tests.doubles.loading import Bench, Clock, entry, lines

RATE = 16 << 10
WAITED = "etl_sink_rate_limited_seconds_total"


def test_a_second_s_bytes_are_let_through_at_once_and_no_more_later() -> None:
    clock = Clock()
    pace = Pace(100, clock)
    assert [pace.take(50) for _ in range(4)] == [0, 0, 0, 0.5]
    clock.pass_(1.0)
    assert pace.take(1) == 0
    clock.pass_(3600.0)  # what was not used is not saved up
    assert [pace.take(100), pace.take(100), pace.take(100)] == [0, 0, 1]


def test_a_body_larger_than_a_second_s_bytes_makes_others_wait() -> None:
    clock = Clock()
    pace = Pace(100, clock)
    assert pace.take(1100) == 0
    assert pace.take(100) == 10
    pace.give_back(100)
    assert pace.take(100) == 10


def test_without_a_limit_nobody_waits() -> None:
    pace = Pace(None)
    assert [pace.take(1 << 40) for _ in range(3)] == [0, 0, 0]


def test_who_waits_is_seen_to_be_alive_and_stops_when_told_to() -> None:
    clock, ticks = Clock(0), []
    pace = Pace(100, clock, clock.pass_)
    pace.wait(3.5, lambda: False, lambda: ticks.append(clock()))
    assert ticks == [1, 2, 3, 3.5]
    pace.wait(1000, lambda: clock() >= 5, lambda: None)  # told so at 5.5
    assert clock() == 5.5


def test_posts_keep_to_the_rate_and_every_sample_is_loaded() -> None:
    bench = Bench(rate_limit_bytes_per_second=RATE, group_samples=1)
    began = bench.clock()
    entries = [entry(f"{n}-0", lines(3000, start=3000 * n)) for n in range(12)]

    verdicts = bench.handle(*entries)

    assert all(isinstance(verdict, Settle) and not verdict.dead for verdict in verdicts)
    posted = sum(map(len, bench.sink.bodies))
    assert posted > 4 * RATE
    # A second's bytes at once, and the last body is followed by no wait.
    least_seconds = (posted - len(bench.sink.bodies[-1])) / RATE - 1
    assert least_seconds * 0.99 <= bench.clock() - began <= posted / RATE
    assert bench.metric(WAITED) > 0


def test_what_would_wait_too_long_goes_back() -> None:
    bench = Bench(rate_limit_bytes_per_second=RATE, group_samples=1)
    first, second = (entry(f"{n}-0", lines(3000, start=3000 * n)) for n in range(2))
    bench.handler._poster.pace.take(RATE * 1000)

    (verdict,) = bench.handle(first)

    assert isinstance(verdict, Retry)
    assert "rate_limit_bytes_per_second is reached" in verdict.reason
    assert bench.points == 0
    bench.clock.pass_(1000)
    (verdict,) = bench.handle(second)
    assert isinstance(verdict, Settle)


def test_a_loader_that_stops_gives_back_what_waits() -> None:
    stopping = [False]
    bench = Bench(
        rate_limit_bytes_per_second=RATE,
        stopping=lambda: stopping[0],
        tick=lambda: stopping.__setitem__(0, True),
    )
    bench.handler._poster.pace.take(RATE * 20)

    (verdict,) = bench.handle(entry("1-0", lines(10)))

    assert verdict == Retry(0.0, "stopping")
    assert bench.points == 0
