"""Late samples and lost feeds: the backlog is found out and extracted, on real Redis."""

from __future__ import annotations

from typing import cast

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from common.config import Query
from common.errors import QueryRejected, QueryTooLarge, SourceUnavailable
from common.runtime.telemetry import Telemetry
from common.state.keys import Keys
from common.state.ledger import Ledger
from common.state.windows import Feed, WindowSet
from services.extractor.history import ServerRun, SourceHistory
from services.extractor.planner import Planner
from services.extractor.prometheus import PrometheusClient
from services.extractor.recheck import Rechecker
from services.extractor.windows import Plan

KEYS = Keys("r")
STEP_MS = 1000
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
        self.lowest: int | None = 1
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
        self.rechecker = Rechecker(self.windows, self.source.count_in, self.history, self.telemetry)

    def commit_all(self, head_ms: int) -> None:
        """Extract everything up to ``head_ms`` in windows of ten steps."""
        self.windows.plan(FEED, 0, head_ms)
        while window := self.windows.lease(FEED, "live", 10**12, 10 * STEP_MS):
            samples = sum(window.start_ms < t <= window.end_ms for t in self.source.times)
            staged = [self.windows.stage(b"p", samples, 60)] if samples else []
            status = self.windows.commit(
                FEED, window, staged, recheck_after_seconds=60, source_samples=samples
            )
            assert status == "committed"

    def backlog(self) -> list[tuple[int, int]]:
        return list(self.windows.status()["raw@hot"].backlog)

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

    assert len(rig.windows.due_rechecks(FEED, 100)) == 10


def test_what_cannot_be_counted_keeps_nothing_else_waiting(rig: Rig) -> None:
    rig.commit_all(100 * STEP_MS)
    rig.clock.ms += 61_000
    rig.source.largest_ms = 10 * STEP_MS  # one window at a time
    rig.source.refused = (0, 10 * STEP_MS)

    for _ in range(2):
        assert rig.rechecker.run(PLAN) == 0

    (left,) = rig.windows.due_rechecks(FEED, 100)
    assert (left.start_ms, left.end_ms) == rig.source.refused


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
