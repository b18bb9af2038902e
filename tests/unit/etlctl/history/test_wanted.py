"""Where a backfill without an end ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.config import Query
from common.samples.rollup import Rollup
from common.state.feeds import Feed, FeedStatus
from etlctl.history.wanted import wanted_of
from services.extractor.windows import Plan

HOUR_MS = 3_600_000
NOW_MS = 1_700_000_000_123
RAW = Query(name="q", select="m")


@given(
    resolution_ms=st.sampled_from([None, 300_000, HOUR_MS]),
    window_hours=st.integers(1, 6),
    settle_ms=st.integers(0, 120_000),
    lookback_ms=st.integers(0, 6 * HOUR_MS),
    lowest_ms=st.none() | st.integers(NOW_MS - 12 * HOUR_MS, NOW_MS + HOUR_MS),
    later_ms=st.integers(0, HOUR_MS),
)
def test_it_holds_nothing_that_has_not_settled(
    resolution_ms: int | None,
    window_hours: int,
    settle_ms: int,
    lookback_ms: int,
    lowest_ms: int | None,
    later_ms: int,
) -> None:
    """A command that waits for it would else wait for a tier's window to be over."""
    rollup = Rollup.of(resolution_ms, ("max",)) if resolution_ms else None
    plan = Plan(
        Feed("q", "cold" if rollup else "hot", "select", "f"),
        RAW,
        step_ms=resolution_ms or 1000,
        settle_ms=settle_ms,
        lookback_ms=lookback_ms,
        live_ms=0,
        catchup_ms=window_hours * HOUR_MS,
        rollup=rollup,
        head_step_ms=window_hours * HOUR_MS if rollup else 1,
    )
    # As the feed is when it is planned first, which may be a moment before the command.
    origin_ms, head_ms = plan.origin_ms(NOW_MS, lowest_ms), plan.head_ms(NOW_MS)
    feed = FeedStatus("q", plan.feed.tier, "f", origin_ms, head_ms, (), (), (), 0, 0, 0, True)
    (wanted,) = wanted_of(
        [plan], {plan.feed.name: feed}, {}, (NOW_MS - 24 * HOUR_MS, None), 0, NOW_MS + later_ms
    )
    assert all(end_ms <= head_ms <= NOW_MS - settle_ms for _, end_ms in wanted.ranges)
    assert wanted.ranges[-1][1] == origin_ms
