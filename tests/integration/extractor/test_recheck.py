"""Late samples and lost feeds: the backlog is found out and extracted, on real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from common.config import Query
from common.errors import QueryRejected, QueryTooLarge, SourceError, SourceUnavailable
from common.runtime.telemetry import Telemetry
from common.samples.columns import Samples
from common.state.keys import Keys
from common.state.ledger import Ledger
from common.state.windows import Feed, WindowSet
from services.extractor.digest import Digest
from services.extractor.history import ServerRun, SourceHistory
from services.extractor.planner import Planner
from services.extractor.prometheus import PrometheusClient
from services.extractor.recheck import MOST_FAILURES, Rechecker
from services.extractor.windows import Plan

KEYS = Keys("r")
STEP_MS = 1000
AFTER_SECONDS = (60.0, 600.0, 3600.0)
EXPR_FEED = Feed("rule", "hot", "expr", "f")
EXPR_PLAN = Plan(
    EXPR_FEED, Query(name="rule", expr="sum(m)", step=1), STEP_MS, 0, 20_000, 10_000, 240_000
)
FEED = Feed("raw", "hot", "select", "f")
PLAN = Plan(FEED, Query(name="raw", select="m"), STEP_MS, 0, 20_000, 10_000, 240_000)


class FakeClock:
    ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


class Source:
    """Samples are times; a window holds those within it."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.counted: list[tuple[int, int]] = []
        self.largest_ms = 10**9
        self.now = 100 * STEP_MS
        self.lowest: int | None = -(10**9)
        self.away = False
        self.refused = (0, 0)

    def count_in(self, query: Query, start_ms: int, end_ms: int) -> int:
        self.counted.append((start_ms, end_ms))
        if self.away:
            raise SourceUnavailable("503")
        if (start_ms, end_ms) == self.refused:
            raise QueryRejected("no such function")
        if end_ms - start_ms > self.largest_ms:
            raise QueryTooLarge("too many samples")
        return sum(start_ms < time_ms <= end_ms for time_ms in self.times)

    def read(self, query: Query, start_ms: int, end_ms: int) -> Iterator[Samples]:
        """The sum up to each step, as an expression of it would be."""
        self.counted.append((start_ms, end_ms))
        if self.away:
            raise SourceUnavailable("503")
        times = np.arange(start_ms + STEP_MS, end_ms + 1, STEP_MS, dtype=np.int64)
        values = [float(sum(one <= time for one in self.times)) for time in times]
        for half in (slice(None, None, 2), slice(1, None, 2)):  # in no order of time
            part = times[half]
            yield Samples((b"{}",), np.array([len(part)]), part, np.array(values[half]))

    def now_ms(self) -> int:
        return self.now

    def run(self) -> ServerRun | None:
        return None

    def lowest_timestamp_ms(self) -> int | None:
        return self.lowest


class Rig:
    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.clock = FakeClock()
        self.windows = WindowSet(redis, KEYS, now_ms=self.clock)
        self.source = Source()
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry("extractor", self.registry)
        self.history = SourceHistory(cast(PrometheusClient, self.source))
        self.rechecker = Rechecker(
            self.windows,
            self.source.count_in,
            self.source.read,
            self.history,
            self.telemetry,
            AFTER_SECONDS,
        )

    def commit_all(self, head_ms: int) -> None:
        """Extract everything up to ``head_ms`` in windows of ten steps."""
        self.windows.plan(FEED, 0, head_ms)
        while window := self.windows.lease(FEED, "live", 10**12, 10 * STEP_MS):
            samples = sum(window.start_ms < t <= window.end_ms for t in self.source.times)
            staged = [self.windows.stage(b"p", samples, 60)] if samples else []
            status = self.windows.commit(
                FEED, window, staged, recheck_after_seconds=AFTER_SECONDS, source_samples=samples
            )
            assert status == "committed"

    def commit_expr(self, head_ms: int) -> None:
        """The same of the expression, one step each."""
        self.windows.plan(EXPR_FEED, 0, head_ms)
        while window := self.windows.lease(EXPR_FEED, "live", 10**12, STEP_MS):
            digest = Digest()
            for block in self.source.read(EXPR_PLAN.query, window.start_ms, window.end_ms):
                digest.add(block)
            status = self.windows.commit(
                EXPR_FEED,
                window,
                [],
                recheck_after_seconds=AFTER_SECONDS,
                source_samples=digest.samples,
                digest=digest.sums,
            )
            assert status == "committed"
        self.source.counted.clear()

    def backlog(self, feed: str = "raw@hot") -> list[tuple[int, int]]:
        return list(self.windows.status()[feed].backlog)

    def pending(self, feed: Feed = FEED) -> int:
        return int(self.redis.zcard(KEYS.rechecks(feed.name)))

    def later(self, seconds: float) -> None:
        self.clock.ms += round(seconds * 1000)

    def abandoned(self, query: str = "raw") -> float:
        labels = {"query": query, "tier": "hot"}
        return self.registry.get_sample_value("etl_rechecks_abandoned_total", labels) or 0.0

    def planner(self) -> Planner:
        return Planner(
            [PLAN],
            self.windows,
            self.history,
            self.telemetry,
            close_after_seconds=60,
        )


@pytest.fixture
def rig(redis_client: Redis) -> Rig:
    return Rig(redis_client)


def test_nothing_is_counted_before_its_time(rig: Rig) -> None:
    rig.commit_all(100 * STEP_MS)

    assert rig.rechecker.run(PLAN) == 0

    assert rig.source.counted == []


def test_unchanged_windows_cost_one_query_and_are_not_counted_again(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 101)]
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000

    assert rig.rechecker.run(PLAN) == 0
    assert rig.rechecker.run(PLAN) == 0

    assert rig.source.counted == [(0, 100 * STEP_MS)]
    assert rig.backlog() == []


def test_late_samples_open_exactly_their_windows(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 101, 2)]
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.times += [34 * STEP_MS, 36 * STEP_MS, 72 * STEP_MS]

    assert rig.rechecker.run(PLAN) == 2

    assert rig.backlog() == [(30 * STEP_MS, 40 * STEP_MS), (70 * STEP_MS, 80 * STEP_MS)]
    labels = {"query": "raw", "tier": "hot"}
    assert rig.registry.get_sample_value("etl_repeated_samples_total", labels) == 10
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000
    assert rig.rechecker.run(PLAN) == 0, "counted again once more, and now they agree"
    assert Ledger(rig.redis, KEYS).audit().imbalance_samples == 0


def test_samples_that_vanished_open_their_window_too(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 21)]
    rig.commit_all(20 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.times.remove(15 * STEP_MS)

    assert rig.rechecker.run(PLAN) == 1

    assert rig.backlog() == [(10 * STEP_MS, 20 * STEP_MS)]


def test_a_count_that_is_too_large_is_made_in_parts(rig: Rig) -> None:
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.largest_ms = 30 * STEP_MS

    assert rig.rechecker.run(PLAN) == 0

    assert rig.backlog() == []
    assert rig.windows.due_rechecks(FEED, 100) == []


def test_a_source_that_is_away_leaves_everything_due(rig: Rig) -> None:
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.away = True

    with pytest.raises(SourceUnavailable):
        rig.rechecker.run(PLAN)

    assert rig.windows.due_rechecks(FEED, 100) == [], "not at once"
    rig.later(61)
    assert len(rig.windows.due_rechecks(FEED, 100)) == 10
    rig.source.away = False
    assert rig.rechecker.run(PLAN) == 0
    assert rig.abandoned() == 0


def test_what_cannot_be_counted_keeps_nothing_else_waiting(rig: Rig) -> None:
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.largest_ms = 10 * STEP_MS  # one window at a time
    rig.source.refused = (0, 10 * STEP_MS)

    for _ in range(2):
        assert rig.rechecker.run(PLAN) == 0

    rig.later(61)
    (left,) = rig.windows.due_rechecks(FEED, 100)
    assert (left.start_ms, left.end_ms, left.failures) == (*rig.source.refused, 1)


def test_a_turn_ends_when_it_must_and_the_rest_stays_due(rig: Rig) -> None:
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.largest_ms = 10 * STEP_MS
    answers = iter([True] * 6 + [False] * 100)

    rig.rechecker.run(PLAN, lambda: next(answers))

    left = len(rig.windows.due_rechecks(FEED, 100))
    assert 0 < left < 10
    assert len(rig.source.counted) == 6
    for _ in range(10):  # shorter turns come to an end all the same
        several = iter([True] * 2 + [False] * 100)
        rig.rechecker.run(PLAN, lambda several=several: next(several))  # type: ignore[misc]
    assert rig.windows.due_rechecks(FEED, 100) == []


def test_what_prometheus_deleted_since_is_no_gap(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 21)]
    rig.commit_all(20 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.times, rig.source.lowest = [], 25 * STEP_MS

    assert rig.rechecker.run(PLAN) == 0

    assert rig.backlog() == []
    assert rig.windows.due_rechecks(FEED, 100) == []


def test_what_is_late_is_found_by_each_later_recount(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 101)]
    rig.commit_all(100 * STEP_MS)
    rig.later(61)
    assert rig.rechecker.run(PLAN) == 0
    assert rig.pending() == 1, "of windows that adjoin one recheck is left"
    rig.source.times.append(50 * STEP_MS + 1)
    rig.later(540)

    assert rig.rechecker.run(PLAN) == 1

    rig.commit_all(100 * STEP_MS)
    rig.later(3000)
    assert rig.rechecker.run(PLAN) == 0
    assert (rig.pending(), rig.abandoned()) == (0, 0)


@pytest.mark.parametrize("failure", [QueryRejected("405"), SourceUnavailable("503")])
def test_a_recount_that_always_fails_comes_to_an_end_and_is_told(
    rig: Rig, failure: SourceError
) -> None:
    def fails(*_: object) -> int:
        raise failure

    rig.rechecker.count_in = fails
    rig.commit_all(20 * STEP_MS)
    turns = 0
    while rig.pending():
        rig.later(3600)
        rig.rechecker.turn([PLAN], lambda: True)
        turns += 1
        assert turns < 50

    # Two windows, at each of three recounts: together, once they have waited together.
    assert 3 <= rig.abandoned() <= 6
    assert turns == 3 * MOST_FAILURES
    assert rig.backlog() == []


def test_a_count_that_never_agrees_comes_to_an_end_and_is_told(rig: Rig) -> None:
    """As of a server that counts what it does not return, such as staleness markers."""
    rig.source.times = [t * STEP_MS for t in range(1, 11)]
    count_in = rig.rechecker.count_in
    rig.rechecker.count_in = lambda *window: count_in(*window) + 1
    rig.commit_all(10 * STEP_MS)
    opened = 0
    for _ in range(20):
        rig.later(3600)
        opened += rig.rechecker.run(PLAN)
        rig.commit_all(10 * STEP_MS)

    assert opened == len(AFTER_SECONDS)
    assert (rig.pending(), rig.abandoned()) == (0, 1)


def test_one_late_sample_at_the_last_recount_is_no_alarm(rig: Rig) -> None:
    rig.commit_all(10 * STEP_MS)
    for wait_seconds in (60, 540):
        rig.later(wait_seconds)
        assert rig.rechecker.run(PLAN) == 0
    rig.source.times = [STEP_MS]
    rig.later(3000)

    assert rig.rechecker.run(PLAN) == 1

    assert rig.abandoned() == 0


def test_one_feed_that_takes_all_the_time_keeps_no_other_waiting(rig: Rig) -> None:
    rig.commit_all(10 * STEP_MS)
    rig.commit_expr(10 * STEP_MS)
    rig.later(61)
    rig.source.counted.clear()
    for _ in range(2):
        goes_on = iter([True, True, False, False])
        rig.rechecker.turn([PLAN, EXPR_PLAN], lambda goes_on=goes_on: next(goes_on))  # type: ignore[misc]

    assert rig.source.counted == [(0, 10 * STEP_MS)] * 2


# -- expressions -------------------------------------------------------------------------------


def test_an_expression_is_evaluated_again_by_one_request(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 101)]
    rig.commit_expr(100 * STEP_MS)
    for wait_seconds in (60, 540, 3000):
        rig.later(wait_seconds)
        assert rig.rechecker.run(EXPR_PLAN) == 0

    assert rig.source.counted == [(0, 100 * STEP_MS)] * 3
    assert rig.pending(EXPR_FEED) == 0


def test_late_data_opens_what_it_changed_of_an_expression(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 101)]
    rig.commit_expr(100 * STEP_MS)
    rig.source.times.append(90 * STEP_MS + 1)
    rig.later(61)

    assert rig.rechecker.run(EXPR_PLAN) == 10

    assert rig.backlog("rule@hot") == [(90 * STEP_MS, 100 * STEP_MS)]
    rig.commit_expr(100 * STEP_MS)
    rig.later(540)
    assert rig.rechecker.run(EXPR_PLAN) == 0


def test_an_expression_that_looks_back_at_what_was_deleted_is_left(rig: Rig) -> None:
    rig.source.times = [t * STEP_MS for t in range(1, 21)]
    rig.commit_expr(20 * STEP_MS)
    rig.source.times, rig.source.lowest = [], 5 * STEP_MS
    rig.later(61)

    assert rig.rechecker.run(EXPR_PLAN) == 0

    assert (rig.backlog("rule@hot"), rig.pending(EXPR_FEED), rig.abandoned("rule")) == ([], 0, 0)


# -- a Redis that lost everything -----------------------------------------------------------------


def test_a_new_feed_begins_at_once_and_is_extended_to_the_sinks_watermark(
    rig: Rig,
) -> None:
    planner = rig.planner()
    planner.plan()
    assert rig.backlog() == [(80 * STEP_MS, 100 * STEP_MS)]
    assert not rig.windows.status()["raw@hot"].reconciled

    rig.windows.set_sink_watermark("raw@hot", 30 * STEP_MS + 400)
    planner.plan()

    status = rig.windows.status()["raw@hot"]
    assert status.backlog == [(30 * STEP_MS, 100 * STEP_MS)]
    assert (status.origin_ms, status.reconciled) == (30 * STEP_MS, True)


@pytest.mark.parametrize("watermark_ms", [None, 90 * STEP_MS])
def test_a_first_start_begins_a_lookback_ago(rig: Rig, watermark_ms: int | None) -> None:
    rig.windows.set_sink_watermark("raw@hot", watermark_ms)

    rig.planner().plan()

    status = rig.windows.status()["raw@hot"]
    assert (status.origin_ms, status.reconciled) == (80 * STEP_MS, True)


def test_a_feed_lost_under_a_living_planner_begins_at_the_sources_oldest_sample(rig: Rig) -> None:
    planner = rig.planner()
    rig.windows.set_sink_watermark("raw@hot", None)
    planner.plan()
    rig.redis.flushall()
    rig.source.lowest = 5 * STEP_MS
    rig.windows.set_sink_watermark("raw@hot", None)

    planner.plan()

    assert rig.windows.status()["raw@hot"].origin_ms == 5 * STEP_MS
