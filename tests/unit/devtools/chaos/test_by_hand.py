"""Samples that are pushed by hand: how they are written, and what is made of their way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from devtools.chaos.worlds.by_hand import Followed, found_of, request_of
from services.extractor.push.snappy import uncompress
from services.extractor.push.write_request import WriteRequest, labels_of
from services.verifier.points import Column, SeriesKey
from services.verifier.source import SourceSeries

RIGHT = Followed(samples=50, at_once=50, recorded=50, loaded=50, found=50)


def series(name: str, *samples: tuple[int, float]) -> SourceSeries:
    times_ms, values = zip(*samples, strict=True)
    labels = {"job": "load", "__name__": name}
    return SourceSeries(labels, np.array(times_ms, np.int64), np.array(values, np.float64))


def test_a_request_is_what_the_extractor_reads() -> None:
    block = request_of([series("a", (1_700_000_000_000, 1.5), (1_700_000_000_250, -0.0))] * 900)

    read = WriteRequest.parse(uncompress(block, 1 << 20))

    assert read.counts == [2] * 900
    assert read.timestamps_ms[:2] == [1_700_000_000_000, 1_700_000_000_250]
    assert bytes(read.values[:16]) == np.array([1.5, -0.0], "<f8").tobytes()
    assert labels_of(read.label_sets[0]) == {"__name__": "a", "job": "load"}


def test_points_are_found_by_series_time_and_all_bits() -> None:
    key, other = SeriesKey.of("a", {}), SeriesKey.of("b", {})
    column = Column(np.array([1, 2, 3], np.int64), np.array([1.0, 0.0, 3.0]))
    found = Column(np.array([1, 2, 4], np.int64), np.array([1.0, -0.0, 3.0]))

    assert found_of({key: column}, {key: column, other: column}) == 3
    assert found_of({key: column, other: column}, {key: found}) == 1
    assert found_of({key: column}, {}) == 0


def test_what_a_204_says_is_no_problem() -> None:
    assert RIGHT.problems() == []


@pytest.mark.parametrize(
    ("followed", "problem"),
    [
        (
            replace(RIGHT, at_once=0),
            "204 was answered when 0 of 50 pushed samples were committed",
        ),
        (
            replace(RIGHT, at_once=100, recorded=100, loaded=100),
            "of 50 pushed samples the ledger recorded 100, and 100 as loaded",
        ),
        (
            replace(RIGHT, loaded=30),
            "of 50 pushed samples the ledger recorded 50, and 30 as loaded",
        ),
        (
            replace(RIGHT, found=49),
            "the sink has 49 of 50 pushed samples with nothing in flight",
        ),
    ],
    ids=["early", "twice", "not loaded", "dropped"],
)
def test_anything_else_is_one(followed: Followed, problem: str) -> None:
    assert followed.problems() == [problem]
