"""The figures of the plots, out of two readings."""

from __future__ import annotations

from typing import Any

from common.state.feeds import FeedStatus
from common.state.ledger import Account, Audit
from common.state.status.figures import COLUMNS, Figures, lag_seconds
from common.state.workers import WorkerReport

NOW_MS = 1_000_000
MEAN_SECONDS = 15.0

Reading = tuple[Audit | None, list[WorkerReport]]


def reading(extracted: int, loaded: int, *posts: tuple[str, float, int]) -> Reading:
    account = Account(extracted=extracted, loaded=loaded, in_flight=extracted - loaded)
    workers = [
        WorkerReport(
            name,
            "loader",
            NOW_MS,
            True,
            {},
            {
                "etl_sink_post_duration_seconds_sum": seconds,
                "etl_sink_post_duration_seconds_count": count,
            },
        )
        for name, seconds, count in posts
    ]
    audit = Audit(NOW_MS, {"q@hot": account}, {}, 0, 0, {}, back_pressure=False)
    return audit, workers


def feed(tier: str, loaded_ms: int, **options: Any) -> FeedStatus:
    return FeedStatus(
        "q", tier, "f", 0, loaded_ms, [], [], [], 0, NOW_MS, 0, **{"reconciled": True, **options}
    )


def told(figures: Figures, one: Reading, at: float) -> dict[str, float | None]:
    return dict(zip(COLUMNS, figures.of(one[0], {}, one[1], at), strict=True))


def test_rates_and_latency_are_of_the_time_between_two_readings() -> None:
    figures = Figures(MEAN_SECONDS)
    first = told(figures, reading(100, 40, ("l1", 1.0, 10)), 50.0)
    assert first["in_flight_samples"] == 60
    assert first["extracted_per_second"] is first["sink_seconds"] is None
    then = told(figures, reading(300, 140, ("l1", 2.0, 14), ("l2", 0.6, 4)), 60.0)
    assert (then["extracted_per_second"], then["loaded_per_second"]) == (20.0, 10.0)
    assert then["sink_seconds"] == 1.6 / 8


def test_what_comes_in_bursts_is_a_mean_of_the_whole_step() -> None:
    """Before: of readings every 2 s the last two counted, and windows of 15 s looked like none."""
    figures = Figures(MEAN_SECONDS)
    found = [told(figures, reading(300 * (at // 15 + 1), 0), float(at)) for at in range(0, 62, 2)]
    assert {one["extracted_per_second"] for one in found[8:]} <= {300 / 16, 600 / 16}
    assert len(figures._earlier) < 20


def test_a_loader_that_reports_every_step_leaves_no_hole() -> None:
    figures = Figures(MEAN_SECONDS)
    found = []
    for at in range(0, 122, 2):
        reports = at // 19
        found.append(told(figures, reading(0, 0, ("l1", 0.5 * reports, 5 * reports)), float(at)))
    assert {one["sink_seconds"] for one in found[10:]} == {0.1}


def test_what_cannot_be_known_is_none() -> None:
    figures = Figures(MEAN_SECONDS)
    told(figures, reading(100, 40, ("l1", 1.0, 10)), 0.0)
    # No post since; Redis away; so long ago that a mean would hide when it was; a new ledger.
    assert told(figures, reading(100, 40, ("l1", 1.0, 10)), 10.0)["sink_seconds"] is None
    assert set(told(figures, (None, []), 20.0).values()) == {None}
    assert told(figures, reading(200, 40), 30.0)["extracted_per_second"] is None
    assert told(figures, reading(900, 40), 500.0)["extracted_per_second"] is None
    assert told(figures, reading(5, 5), 510.0)["extracted_per_second"] == 0


def test_the_lag_is_that_of_the_hot_feed_that_is_furthest_behind() -> None:
    feeds = {
        "a": feed("hot", NOW_MS - 4_000),
        "b": feed("hot", NOW_MS - 9_000),
        "c": feed("hot", 0, reconciled=False),
        "d": feed("cold", NOW_MS - 500_000),
    }
    assert lag_seconds(feeds, NOW_MS) == 9.0
    assert lag_seconds({"d": feeds["d"]}, NOW_MS) == 500.0
    assert lag_seconds({"c": feeds["c"]}, NOW_MS) is None
