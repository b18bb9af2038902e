"""How long a window of backlog is, given what the last one held."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.samples.rollup import Rollup
from services.extractor.window_lengths import ENOUGH_WINDOWS, MOST_SAMPLES, WindowLengths
from tests.unit.services.extractor.test_windows import plan, window

STEP_MS = 15_000
LONG = replace(plan(), catchup_ms=480 * STEP_MS)


def points_after(series: int, longest_points: int = 480, window_points: int = 240) -> int:
    lengths = WindowLengths()
    one = replace(LONG, catchup_ms=longest_points * STEP_MS)
    lengths.held(one, window(0, window_points * STEP_MS), series * window_points)
    return lengths.longest_ms(one, "catchup") // STEP_MS


def test_the_first_window_is_of_240_points() -> None:
    assert WindowLengths().longest_ms(LONG, "catchup") == 240 * STEP_MS
    short = replace(LONG, catchup_ms=10 * STEP_MS)
    assert WindowLengths().longest_ms(short, "catchup") == 10 * STEP_MS


@pytest.mark.parametrize(
    ("series", "points"),
    [
        (0, 480),
        (MOST_SAMPLES // 480, 480),
        (MOST_SAMPLES // 480 + 1, 240),
        (MOST_SAMPLES // 240 + 1, 120),
        (MOST_SAMPLES // 120 + 1, 60),
        (10**7, 60),
    ],
)
def test_the_next_is_as_long_as_it_holds_few_enough(series: int, points: int) -> None:
    assert points_after(series) == points


def test_what_is_configured_is_the_most_and_never_less_than_60_are_halved() -> None:
    assert points_after(1, longest_points=100) == 100
    assert points_after(10**7, longest_points=100) == 100
    assert points_after(10**7, longest_points=250) == 62


def test_a_short_window_tells_as_much_as_a_long_one() -> None:
    assert points_after(MOST_SAMPLES // 480, window_points=1) == 480
    assert points_after(MOST_SAMPLES // 240, window_points=1) == 240


def test_what_was_too_large_for_one_read_is_halved_for_those_that_follow() -> None:
    lengths = WindowLengths()
    lengths.held(LONG, window(0, STEP_MS), 1)
    assert lengths.longest_ms(LONG, "catchup") == 480 * STEP_MS
    lengths.too_long(LONG, window(0, 480 * STEP_MS))
    assert lengths.longest_ms(LONG, "catchup") == 240 * STEP_MS
    lengths.too_long(LONG, window(0, 100 * STEP_MS))
    assert lengths.longest_ms(LONG, "catchup") == 60 * STEP_MS
    lengths.too_long(LONG, window(0, STEP_MS))
    assert lengths.longest_ms(LONG, "catchup") == 60 * STEP_MS
    assert lengths.longest_ms(LONG, "live") == LONG.live_ms


def test_what_was_too_large_for_a_while_is_tried_again() -> None:
    lengths = WindowLengths()
    lengths.too_long(LONG, window(0, 480 * STEP_MS))
    for _ in range(ENOUGH_WINDOWS):
        lengths.held(LONG, window(0, 20 * STEP_MS), 20)
    assert lengths.longest_ms(LONG, "catchup") == 240 * STEP_MS
    for _ in range(ENOUGH_WINDOWS):
        assert lengths.longest_ms(LONG, "catchup") == 240 * STEP_MS
        lengths.held(LONG, window(0, 240 * STEP_MS), 240)
    assert lengths.longest_ms(LONG, "catchup") == 480 * STEP_MS


def test_each_query_has_its_own() -> None:
    lengths = WindowLengths()
    lengths.held(LONG, window(0, STEP_MS), MOST_SAMPLES)
    other = replace(LONG, query=LONG.query.model_copy(update={"name": "other"}))
    assert lengths.longest_ms(other, "catchup") == 240 * STEP_MS
    assert lengths.longest_ms(LONG, "catchup") == 60 * STEP_MS


def test_what_is_live_and_what_is_rolled_up_are_left_as_they_are() -> None:
    lengths = WindowLengths()
    lengths.held(LONG, window(0, STEP_MS), MOST_SAMPLES)
    assert lengths.longest_ms(LONG, "live") == LONG.live_ms
    rollup = replace(LONG, rollup=Rollup(300_000, ("avg",)))
    assert lengths.longest_ms(rollup, "catchup") == LONG.catchup_ms
