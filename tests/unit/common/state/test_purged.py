"""How many points are given up with a dead letter, and where."""

from __future__ import annotations

import math

import numpy as np
import pytest

from common.samples.batch import Origin, SampleBatch
from common.samples.columns import Samples
from common.samples.rollup import Rollup
from common.state.dead_letters.purged import LATEST_MS, Purged, extent_of

MINUTE_MS = 60_000


def payload(*series: list[tuple[int, float]], rollup: Rollup | None) -> tuple[bytes, int]:
    """Of the window from 10 to 20 minutes; and how many samples it has."""
    flat = [sample for one in series for sample in one]
    samples = Samples(
        tuple(b'{"__name__":"m","n":"%d"}' % number for number in range(len(series))),
        np.array([len(one) for one in series], np.int64),
        np.array([time_ms for time_ms, _ in flat], np.int64),
        np.array([value for _, value in flat], np.float64),
    )
    bounds = 10 * MINUTE_MS, 20 * MINUTE_MS
    batch = SampleBatch(Origin("q", "select", "warm", "w", *bounds, rollup), samples)
    return batch.encode(), len(samples)


def at(*seconds: float) -> list[tuple[int, float]]:
    return [(round(one * 1_000), 1.0) for one in seconds]


ROLLUP = Rollup.of(MINUTE_MS, ["count", "increase"])
# 590 s is what the first bucket increases from; the second series has samples of two buckets.
SERIES = at(590, 605, 620, 650), at(601, 660, 661, 700)


def test_samples_to_be_rolled_up_are_as_many_points_as_they_have_buckets() -> None:
    assert extent_of(*payload(*SERIES, rollup=ROLLUP)) == Purged(659_999, 720_000, 3)


def test_samples_that_stay_as_they_are_are_points() -> None:
    assert extent_of(*payload(*SERIES, rollup=None)) == Purged(589_999, 700_000, 8)


@pytest.mark.parametrize(
    "series",
    [at(590), [(620_000, math.nan), (630_000, math.inf)]],
    ids=["before_the_window", "no_numbers"],
)
def test_what_becomes_no_point_excuses_none(series: list[tuple[int, float]]) -> None:
    assert extent_of(*payload(series, rollup=ROLLUP)) == Purged(600_000, 1_200_000, 0)


def test_samples_of_impossible_times_have_a_place_that_scripts_can_spell() -> None:
    series = [(-(2**62), 1.0), (620_000, 1.0), (2**62, 1.0)]
    assert extent_of(*payload(series, rollup=ROLLUP)) == Purged(659_999, 660_000, 1)
    assert extent_of(*payload(series, rollup=None)) == Purged(0, LATEST_MS, 3)


@pytest.mark.parametrize("damaged", [b"", b"\x00garbage", b"m value=1 x"])
def test_what_nobody_can_read_may_be_anywhere(damaged: bytes) -> None:
    assert extent_of(damaged, 5) == Purged(0, LATEST_MS, 5)
