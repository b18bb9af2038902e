"""What a backfill will take, from counts at the source: samples, time, and bytes in the sink."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.errors import QueryTooLarge
from common.state.ranges import cut, length_ms
from etlctl.history.wanted import Wanted
from services.extractor.prometheus import PrometheusClient
from services.extractor.replicas import Replicas
from services.extractor.windows import Plan

# So many windows of a feed are counted, evenly over its ranges; the others are taken to be alike.
COUNTED_WINDOWS = 24
# What two cores extract, transform and load without a limit. Measured were 300,000 of a tier of
# samples as they are, and 600,000 of three tiers together (docs/history.md).
SAMPLES_PER_SECOND = 200_000
# InfluxDB's documentation on sizing says: "Non-string values require approximately three bytes."
SINK_BYTES_PER_VALUE = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one feed. ``values``: of fields in the sink; a rollup has one for each aggregate."""

    feed: str
    windows: int
    samples: int
    values: int

    @property
    def sink_bytes(self) -> int:
        """What the sink will need."""
        return self.values * SINK_BYTES_PER_VALUE


@dataclass(frozen=True, slots=True)
class Counted:
    """What the source has in a window: samples, and series at its end."""

    samples: int
    series: int


Count = Callable[[Plan, int, int], Counted]


def estimate(wanted: Wanted, count: Count) -> Estimate:
    """What one feed will take. Raises what ``count`` raises."""
    plan = wanted.plan
    windows = list(cut(wanted.ranges, plan.catchup_ms))
    every = -(-len(windows) // COUNTED_WINDOWS)
    some = windows[:: max(1, every)]
    counted = [count(plan, *window) for window in some]
    # Of a range, how much of it was counted.
    share = length_ms(wanted.ranges) / max(1, length_ms(some))
    samples = round(share * sum(one.samples for one in counted))
    values = samples
    if plan.rollup is not None:
        points = sum(
            one.series * (end - start) // plan.rollup.resolution_ms
            for one, (start, end) in zip(counted, some, strict=True)
        )
        values = round(share * points) * len(plan.rollup.aggregates)
    return Estimate(plan.feed.name, len(windows), samples, values)


def counter(source: PrometheusClient | Replicas) -> Count:
    """Counts by queries; what is too large for one is counted in halves."""

    def count(plan: Plan, start_ms: int, end_ms: int) -> Counted:
        query = plan.query
        series = source.series_at(query, end_ms)
        if query.kind == "expr":
            return Counted(series * ((end_ms - start_ms) // query.step_ms), series)
        try:
            return Counted(source.count_in(query, start_ms, end_ms), series)
        except QueryTooLarge:
            middle_ms = (start_ms + end_ms) // 2
            if middle_ms - start_ms < 2:
                raise
            halves = count(plan, start_ms, middle_ms), count(plan, middle_ms, end_ms)
            return Counted(sum(half.samples for half in halves), series)

    return count
