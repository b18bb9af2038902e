"""The rules that turn samples into expected points."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from services.verifier.expect import expect
from services.verifier.points import SeriesKey
from services.verifier.source import SourceSeries


def series(name: str, points: list[tuple[int, float]]) -> SourceSeries:
    return SourceSeries(
        {"__name__": name},
        np.array([t for t, _ in points], dtype=np.int64),
        np.array([v for _, v in points], dtype=np.float64),
    )


def by_name(labels: Mapping[str, str]) -> SeriesKey | str:
    name = labels["__name__"]
    return "not_valid" if name == "unwanted" else SeriesKey.of(name.rstrip("2"), {})


def test_drops_are_counted_once_each_by_reason() -> None:
    result = expect(
        [
            series("m", [(1, math.nan), (2, math.inf), (3, -math.inf), (4, -0.0), (90, 1.0)]),
            series("m", [(0, 1.0), (-5, math.nan)]),
            series("unwanted", [(1, 1.0), (2, 1.0)]),
        ],
        by_name,
        latest_ms=50,
    )
    assert result.source == 9
    assert result.dropped == {
        "nan": 2,
        "inf": 2,
        "timestamp_not_positive": 1,
        "timestamp_in_future": 1,
        "not_valid": 2,
    }
    (column,) = result.points.values()
    assert column.timestamps_ms.tolist() == [4]
    assert math.copysign(1.0, column.values[0]) == -1.0


def test_native_histograms_are_dropped_whatever_their_series() -> None:
    result = expect(
        [
            series("m", [(1, 1.0)])._replace(histograms=2),
            series("unwanted", [])._replace(histograms=3),
        ],
        by_name,
    )
    assert (result.source, result.dropped) == (6, {"native_histogram": 5})
    assert len(result.points) == 1


def test_of_two_series_with_one_identity_the_last_wins() -> None:
    result = expect([series("m", [(1, 1.0), (2, 2.0)]), series("m2", [(2, 9.0)])], by_name)
    (column,) = result.points.values()
    assert column.values.tolist() == [1.0, 9.0]
    assert result.dropped == {"collision": 1}


def test_nothing_gives_nothing() -> None:
    result = expect([series("m", []), series("m", [(1, math.nan)])], by_name)
    assert (result.points, result.source, result.dropped) == ({}, 1, {"nan": 1})


def test_native_histograms_become_classic_series_where_they_are_carried() -> None:
    histogram = {"count": "3", "sum": "NaN", "buckets": [[0, "1", "2", "2"], [0, "2", "4", "1"]]}
    one = series("m", [(1, 1.0)])._replace(
        histograms=2, raw_histograms=[(2, histogram), (3, {"count": "3"})]
    )
    result = expect([one], lambda labels: SeriesKey.of(labels["__name__"], {}), classic="select")
    assert {key.measurement: column.values.tolist() for key, column in result.points.items()} == {
        "m": [1.0],
        "m_count": [3.0],
        "m_bucket": [3.0],
    }
    assert result.dropped == {"native_histogram": 1, "nan": 1, "collision": 3}
    assert result.source == 1 + 6 + 1
