"""What a backfill is estimated to take, from counts of some of its windows."""

from __future__ import annotations

from typing import cast

import pytest

from common.config import Query
from common.errors import QueryTooLarge
from common.samples.rollup import Rollup
from common.state.feeds import Feed, Range
from etlctl.history.estimate import COUNTED_WINDOWS, Counted, counter, estimate
from etlctl.history.wanted import Wanted
from services.extractor.prometheus import PrometheusClient
from services.extractor.windows import Plan

STEP_MS = 1000
WINDOW_MS = 60 * STEP_MS
RAW = Query(name="q", select="m")


def wanted(*ranges: Range, rollup: Rollup | None = None, query: Query = RAW) -> Wanted:
    feed = Feed("q", "warm" if rollup else "hot", query.kind, "f")
    plan = Plan(feed, query, STEP_MS, 0, 0, 0, WINDOW_MS, rollup=rollup)
    return Wanted(plan, ranges, ())


def two_a_second(plan: Plan, start_ms: int, end_ms: int) -> Counted:
    return Counted(2 * (end_ms - start_ms) // 1000, 2)


def test_few_windows_are_all_counted() -> None:
    """They end at multiples of their length."""
    counted: list[Range] = []

    def count(plan: Plan, start_ms: int, end_ms: int) -> Counted:
        counted.append((start_ms, end_ms))
        return two_a_second(plan, start_ms, end_ms)

    found = estimate(wanted((0, 90_000), (235_000, 245_000)), count)
    assert counted == [(0, 60_000), (60_000, 90_000), (235_000, 240_000), (240_000, 245_000)]
    assert (found.feed, found.windows, found.samples, found.values) == ("q@hot", 4, 200, 200)
    assert found.sink_bytes == 600


def test_of_many_windows_some_stand_for_the_others() -> None:
    counted: list[int] = []

    def count(plan: Plan, start_ms: int, end_ms: int) -> Counted:
        counted.append(start_ms)
        return two_a_second(plan, start_ms, end_ms)

    found = estimate(wanted((0, 1000 * WINDOW_MS)), count)
    assert len(counted) <= COUNTED_WINDOWS
    assert counted[-1] > 900 * WINDOW_MS
    assert (found.windows, found.samples) == (1000, 120_000)


def test_a_rollup_has_a_value_for_each_series_bucket_and_aggregate() -> None:
    rollup = Rollup.of(30_000, ("max", "count"))
    found = estimate(wanted((0, 120_000), rollup=rollup), two_a_second)
    assert (found.samples, found.values) == (240, 2 * 4 * 2)


class Source:
    """Has ``series`` series with a sample a second; more than ``most`` are too many to count."""

    series = 3

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[Range] = []

    def series_at(self, query: Query, time_ms: int) -> int:
        return self.series

    def count_in(self, query: Query, start_ms: int, end_ms: int) -> int:
        samples = self.series * (end_ms - start_ms) // 1000
        if samples > self.most:
            raise QueryTooLarge("too many samples")
        self.asked.append((start_ms, end_ms))
        return samples


def counted_by(source: Source, query: Query = RAW) -> Counted:
    plan = wanted((0, WINDOW_MS), query=query).plan
    return counter(cast(PrometheusClient, source))(plan, 0, WINDOW_MS)


def test_what_is_too_large_is_counted_in_halves() -> None:
    source = Source(most=100)
    assert counted_by(source) == Counted(180, 3)
    assert source.asked == [(0, 30_000), (30_000, 60_000)]


def test_what_stays_too_large_is_an_error() -> None:
    with pytest.raises(QueryTooLarge):
        counted_by(Source(most=-1))


def test_an_expression_has_a_sample_of_each_series_at_each_step() -> None:
    query = Query(name="q", expr="sum(m)", step=15)
    assert counted_by(Source(most=0), query) == Counted(4 * 3, 3)
