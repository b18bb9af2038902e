"""The arithmetic of planning."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config import Query
from common.promql.expression import LOOKBACK_MS
from common.samples.rollup import Rollup
from common.state.windows import Feed, Window, WindowClass
from monitoring.thresholds import Thresholds
from services.extractor.windows import Plan, floor_to

NOW = 1_700_000_007_123


def plan(expr: str = "up", *, step_ms: int = 15_000, select: str | None = None) -> Plan:
    query = (
        Query(name="q", select=select)
        if select
        else Query(name="q", expr=expr, step=step_ms / 1000)
    )
    return Plan(
        feed=Feed("q", "hot", query.kind, "f"),
        query=query,
        step_ms=step_ms,
        settle_ms=20_000,
        lookback_ms=3_600_000,
        live_ms=300_000,
        catchup_ms=240 * step_ms,
    )


def window(start_ms: int, end_ms: int, window_class: WindowClass = "catchup") -> Window:
    return Window("w1", start_ms, end_ms, "1-x", 0, window_class)


@given(st.integers(1_600_000_000_000, 1_900_000_000_000), st.sampled_from([1, 250, 1000, 15_000]))
def test_the_head_is_aligned_settled_and_as_late_as_can_be(now_ms: int, step_ms: int) -> None:
    head_ms = plan(step_ms=step_ms).head_ms(now_ms)

    assert head_ms % step_ms == 0
    assert head_ms <= now_ms - 20_000 < head_ms + step_ms


def test_a_feed_is_behind_from_where_the_objective_of_the_alerts_is_missed() -> None:
    shipped = replace(plan(), settle_ms=30_000)

    assert shipped.lag_limit_ms == Thresholds().freshness_seconds * 1000


def test_the_limit_of_a_rollup_leaves_room_for_its_window() -> None:
    day_ms = 86_400_000

    limit_ms = replace(plan(), head_step_ms=day_ms).lag_limit_ms

    assert day_ms + 20_000 + day_ms // 20 < limit_ms < 2 * day_ms


def test_a_feed_begins_a_lookback_ago() -> None:
    assert plan().origin_ms(NOW, None) == floor_to(NOW - 3_600_000, 15_000)


def test_no_feed_begins_before_1970() -> None:
    """Where the source does not say where it begins, and all of it is wanted."""
    assert replace(plan(), lookback_ms=100 * 365 * 86_400_000).origin_ms(NOW, None) == 0


def test_a_feed_does_not_begin_before_the_source_does() -> None:
    lowest_ms = NOW - 600_000

    origin_ms = plan().origin_ms(NOW, lowest_ms)

    assert lowest_ms - 15_000 <= origin_ms < lowest_ms


def test_a_feed_never_begins_after_its_head() -> None:
    assert plan().origin_ms(NOW, 1 << 62) == plan().head_ms(NOW)


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "middle_ms"),
    [
        (0, 30_000, 15_000),
        (0, 45_000, 15_000),
        (15_000, 16 * 15_000, 8 * 15_000),
        (0, 15_000, None),
    ],
)
def test_a_split_is_aligned_and_ends_at_one_step(
    start_ms: int, end_ms: int, middle_ms: int | None
) -> None:
    assert plan().middle_ms(window(start_ms, end_ms)) == middle_ms


HOUR = 3_600_000


@pytest.mark.parametrize(
    ("select", "lowest_ms", "expired_ms"),
    [
        (True, None, None),  # it does not report it
        (True, HOUR, None),  # nothing was deleted since the origin
        (True, HOUR + 15_000, None),  # the origin was rounded down to a step
        (True, 2 * HOUR, None),  # older than the window
        (True, 3 * HOUR + 40_000, 3 * HOUR + 30_000),  # within it
        (True, 9 * HOUR, 4 * HOUR),  # beyond it
        (False, 3 * HOUR - LOOKBACK_MS, None),  # all that the rule looks at is there
        (False, 3 * HOUR - LOOKBACK_MS + 60_000, 3 * HOUR + 45_000),
    ],
)
def test_what_the_source_no_longer_holds(
    select: bool, lowest_ms: int | None, expired_ms: int | None
) -> None:
    planned = plan(select="up") if select else plan("up")

    assert planned.expired_until_ms(window(3 * HOUR, 4 * HOUR), HOUR, lowest_ms) == expired_ms


@pytest.mark.parametrize(
    ("lowest_ms", "expired_ms"),
    [(2 * HOUR - LOOKBACK_MS, None), (2 * HOUR - LOOKBACK_MS + 1, 4 * HOUR)],
)
def test_a_pinned_time_that_is_gone_is_missing_everywhere(
    lowest_ms: int, expired_ms: int | None
) -> None:
    pinned = plan("up @ 7200")
    assert pinned.expired_until_ms(window(3 * HOUR, 4 * HOUR), HOUR, lowest_ms) == expired_ms


def test_a_live_rule_is_taken_as_prometheus_evaluates_it_now() -> None:
    """Nothing of its range was deleted since: what came before the first scrape never was there."""
    began_ms = 3 * HOUR + 40_000
    live = window(3 * HOUR, 3 * HOUR + 60_000, "live")

    assert plan("up").expired_until_ms(live, HOUR, began_ms) == 3 * HOUR + 30_000


# --- rollups ---------------------------------------------------------------------------------

MINUTE_MS, ORIGIN_MS = 60_000, 1_700_000_040_000


def rollup_plan(*aggregates: str) -> Plan:
    return replace(
        plan(select="x"),
        step_ms=MINUTE_MS,
        head_step_ms=10 * MINUTE_MS,
        rollup=Rollup.of(MINUTE_MS, aggregates),
    )


@pytest.mark.parametrize(
    ("lowest_ms", "origin_ms"),
    [
        (ORIGIN_MS, ORIGIN_MS),
        (ORIGIN_MS + 1, ORIGIN_MS),  # the first sample of a bucket may be its earliest
        (ORIGIN_MS + 2, ORIGIN_MS + MINUTE_MS),
        (ORIGIN_MS + MINUTE_MS, ORIGIN_MS + MINUTE_MS),
    ],
)
def test_a_rollup_begins_with_its_first_whole_bucket(lowest_ms: int, origin_ms: int) -> None:
    assert rollup_plan("max").origin_ms(lowest_ms + 30 * MINUTE_MS, lowest_ms) == origin_ms


@pytest.mark.parametrize("aggregates", [("max",), ("increase",)])
@pytest.mark.parametrize("before_ms", [0, 1, MINUTE_MS - 1])
def test_a_source_as_young_as_a_rollup_has_deleted_nothing(
    aggregates: tuple[str, ...], before_ms: int
) -> None:
    first = window(ORIGIN_MS, ORIGIN_MS + 10 * MINUTE_MS)
    lowest_ms = ORIGIN_MS + 1 - before_ms
    assert rollup_plan(*aggregates).expired_until_ms(first, ORIGIN_MS, lowest_ms) is None


@pytest.mark.parametrize(
    ("aggregate", "deleted_ms", "buckets"),
    [
        ("max", 1, 1),
        ("max", MINUTE_MS, 1),
        ("max", MINUTE_MS + 1, 2),
        ("increase", 1, 6),
        ("increase", 5 * MINUTE_MS + 1, 10),
    ],
)
def test_a_bucket_that_is_not_whole_any_more_is_a_gap(
    aggregate: str, deleted_ms: int, buckets: int
) -> None:
    first = window(ORIGIN_MS, ORIGIN_MS + 10 * MINUTE_MS)
    lowest_ms = ORIGIN_MS + 1 + deleted_ms
    expired_ms = rollup_plan(aggregate).expired_until_ms(first, ORIGIN_MS, lowest_ms)
    assert expired_ms == ORIGIN_MS + buckets * MINUTE_MS
