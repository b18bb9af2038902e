"""A sink that refuses everything is noticed after a bounded number of posts, whatever its words."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from common.state.verdict import Entry, Pause, Retry, Settle, Verdict
from services.loader.responses import Kind, Outcome
from tests.doubles.loading import Bench, entry, lines

OPAQUE = Outcome(Kind.POINTS, "write buffer error: parsing failed", "points", 400)
TOO_LARGE = Outcome(Kind.TOO_LARGE, "points batch is too large", "too_large", 413)


class Stream:
    """Entries and until when each is delayed, as the stage and Redis keep them."""

    def __init__(self, bench: Bench, *entries: Entry) -> None:
        self.bench = bench
        self.waiting = list(entries)
        self.delayed: dict[str, float] = {}
        self.settled: dict[str, Settle] = {}
        self.paused = False

    def step(self, entries_max: int = 8) -> list[Verdict]:
        """A second passes, and the stage takes a turn if its dependency serves it."""
        bench = self.bench
        bench.clock.pass_(1.0)
        if bench.handler.check() is not None:
            self.paused = True
            return []
        now = bench.clock.now
        ready = [one for one in self.waiting if self.delayed.get(one.id, 0.0) <= now]
        verdicts = bench.handle(*ready[:entries_max])
        for one, verdict in zip(ready, verdicts, strict=False):
            if isinstance(verdict, Settle):
                self.settled[one.id] = verdict
                self.waiting.remove(one)
            elif isinstance(verdict, Retry):
                self.delayed[one.id] = now + verdict.after_seconds
        self.paused = any(isinstance(verdict, Pause) for verdict in verdicts)
        return verdicts


@pytest.mark.parametrize("answer", [OPAQUE, TOO_LARGE], ids=["400", "413"])
def test_it_is_noticed_after_a_bounded_number_of_posts_and_nothing_is_lost(answer: Outcome) -> None:
    bench = Bench(connections=2, group_samples=3000)
    bench.sink.judge = lambda _: answer
    stream = Stream(bench, *(entry(str(i), lines(2000, f"m{i}")) for i in range(6)))
    verdicts = stream.step()
    assert all(isinstance(verdict, Pause) for verdict in verdicts), "nothing is a dead letter"
    assert len(bench.sink.bodies) < 60
    assert bench.metric("etl_sink_pauses_total", cause="refuses_all") == 1
    reason = bench.handler.check()
    assert reason is not None
    assert answer.message in reason, "the sink's own words"
    assert bench.metric("etl_sink_paused") == 1


def test_while_it_lasts_one_line_goes_now_and_then_and_of_another_entry_each_time() -> None:
    bench = Bench(backoff_base_seconds=1, backoff_max_seconds=30)
    bench.sink.judge = lambda _: OPAQUE
    stream = Stream(bench, *(entry(str(i), lines(500, f"m{i}")) for i in range(6)))
    stream.step()
    bench.sink.bodies.clear()
    for _ in range(600):
        stream.step()
    assert {len(text) for text in bench.sink.posted} == {1}
    assert 5 < len(bench.sink.bodies) < 30, "with waits that double up to 30 s"
    assert len({text[0].split(b",")[0] for text in bench.sink.posted}) > 2
    assert stream.settled == {}
    bench.sink.judge = None
    for _ in range(310):
        stream.step()
    assert stream.settled == {str(i): Settle(loaded=500) for i in range(6)}
    assert bench.metric("etl_sink_paused") == 0


def refuse(measurement: bytes) -> Callable[[list[bytes]], Outcome | None]:
    return lambda text: OPAQUE if any(line.startswith(measurement) for line in text) else None


@pytest.mark.parametrize("entries_max", [1, 2, 8])
def test_entries_of_which_all_is_refused_do_not_stop_the_others(entries_max: int) -> None:
    bench = Bench(backoff_max_seconds=4)
    bench.sink.judge = refuse(b"bad")
    bad = [entry(f"bad{i}", lines(150, "bad", 1000 * i)) for i in range(3)]
    good = [entry(f"good{i}", lines(200, f"good{i}")) for i in range(9)]
    stream = Stream(bench, *bad, *good)
    for _ in range(1000):
        stream.step(entries_max)
    assert stream.waiting == []
    for one in good:
        assert stream.settled[one.id] == Settle(loaded=200)
    for one in bad:
        assert [(d.reason, d.samples) for d in stream.settled[one.id].dead] == [("rejected", 150)]


def test_what_came_later_ends_the_pause_that_a_bad_entry_alone_caused() -> None:
    bench = Bench()
    bench.sink.judge = refuse(b"bad")
    stream = Stream(bench, entry("bad", lines(150, "bad")))
    for _ in range(20):
        stream.step()
    assert bench.metric("etl_sink_paused") == 1
    stream.waiting.append(entry("good", lines(5)))
    for _ in range(120):
        stream.step()
    assert stream.settled["good"] == Settle(loaded=5)
    assert stream.settled["bad"].dead[0].samples == 150


def test_a_sink_that_names_what_it_refuses_is_searched_as_always() -> None:
    bench = Bench()
    bad = [b"m,n=%d value=oops 1700000000000" % i for i in range(40)]
    for number in range(20):
        text = [*lines(60, start=100 * number), *bad]
        (verdict,) = bench.handle(entry(str(number), text))
        assert isinstance(verdict, Settle)
        assert verdict.loaded == 60
    assert bench.metric("etl_sink_pauses_total", cause="refuses_all") == 0


def test_an_operator_who_wants_no_pause_for_what_is_refused_gets_none() -> None:
    bench = Bench(max_rejected_share=1)
    bench.sink.judge = lambda _: OPAQUE
    (verdict,) = bench.handle(entry("1", lines(100)))
    assert isinstance(verdict, Settle)
    assert verdict.dead[0].samples == 100


def test_a_search_is_bounded_by_the_minute_and_by_the_entry_and_ends_right_all_the_same() -> None:
    bench = Bench(search_posts_per_minute=120, search_posts_per_entry=50)
    text = lines(3000)
    bad = set(text[::100])
    bench.sink.judge = lambda some: OPAQUE if bad.intersection(some) else None
    stream = Stream(bench, entry("1", text), entry("2", lines(10, "k")))
    made: list[int] = []
    while stream.waiting:
        before = len(bench.sink.bodies)
        stream.step()
        made.append(len(bench.sink.bodies) - before)
        if len(made) == 3:
            assert stream.settled["2"] == Settle(loaded=10), "others have their turn"
    assert max(made) <= 103, "of two entries"
    assert max(sum(made[i : i + 60]) for i in range(len(made))) <= 2 * 120 + 10
    assert sum(made) > 300
    verdict = stream.settled["1"]
    assert verdict.loaded == 2970
    assert {line for one in verdict.dead for line in one.payload.splitlines()} == bad


def test_a_sink_that_refuses_most_is_probed_by_few_posts() -> None:
    """Tried before: 7,070 posts in 15 s while the loader was paused."""
    bench = Bench(backoff_max_seconds=1)
    text = lines(6000)
    bad = set(random.Random(3).sample(text, 4000))
    bench.sink.judge = lambda some: OPAQUE if bad.intersection(some) else None
    stream = Stream(bench, *(entry(str(i), text[i : i + 750]) for i in range(0, 6000, 750)))
    while not bench.metric("etl_sink_pauses_total", cause="rejected_share"):
        stream.step()
    for _ in range(120):
        stream.step()
    bench.sink.bodies.clear()
    for _ in range(60):
        stream.step()
    assert len(bench.sink.bodies) < 1200
    rejected = sum(one.samples for verdict in stream.settled.values() for one in verdict.dead)
    assert rejected <= 1000, "what could be judged before there were enough to judge by"
    assert bench.metric("etl_sink_paused") == 1
