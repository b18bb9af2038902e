"""Samples as columns: picking some of them keeps series, counts, keys and samples in step."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.samples.columns import Samples

Rows = list[tuple[bytes, bytes, int, float]]


@st.composite
def any_samples(draw: st.DrawFn) -> Samples:
    counts = draw(st.lists(st.integers(0, 4), max_size=6))
    total = sum(counts)
    return Samples(
        tuple(b"s%d" % index for index in range(len(counts))),
        np.array(counts, np.int64),
        np.array(draw(st.lists(st.integers(0, 9), min_size=total, max_size=total)), np.int64),
        np.arange(total, dtype=np.float64),
        tuple(b"k%d" % index for index in range(len(counts))),
        histograms_ms=np.array([5, 3], np.int64),
        surplus_ms=np.array([4, 4, 6], np.int64),
    )


def rows(samples: Samples) -> Rows:
    assert len(samples) == len(samples.timestamps_ms) == int(samples.counts.sum())
    assert len(samples.series) == len(samples.keys) == len(samples.counts)
    return [
        (series, key, time, value)
        for series, key, start, end in zip(
            samples.series, samples.keys, samples.starts, samples.ends, strict=True
        )
        for time, value in zip(
            samples.timestamps_ms[start:end].tolist(),
            samples.values[start:end].tolist(),
            strict=True,
        )
    ]


@given(samples=any_samples(), data=st.data())
def test_where_keeps_what_is_marked_and_no_empty_series(
    samples: Samples, data: st.DataObject
) -> None:
    size = len(samples)
    marks = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    left = samples.where(np.array(marks, np.bool_))
    assert rows(left) == [row for row, mark in zip(rows(samples), marks, strict=True) if mark]
    assert (left.counts > 0).all()
    assert left.counts.dtype == np.int64


@given(samples=any_samples(), data=st.data())
def test_of_series_keeps_exactly_the_marked_series(samples: Samples, data: st.DataObject) -> None:
    size = len(samples.series)
    marks = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    left = samples.of_series(np.array(marks, np.bool_))
    wanted = [name for name, mark in zip(samples.series, marks, strict=True) if mark]
    assert list(left.series) == wanted
    assert rows(left) == [row for row in rows(samples) if row[0] in wanted]


@given(samples=any_samples(), start_ms=st.integers(-1, 9))
def test_after_is_exclusive(samples: Samples, start_ms: int) -> None:
    left = samples.after(start_ms)
    assert rows(left) == [row for row in rows(samples) if row[2] > start_ms]
    assert left.histograms_ms.tolist() == [ms for ms in (5, 3) if ms > start_ms]
    assert left.surplus_ms.tolist() == [ms for ms in (4, 4, 6) if ms > start_ms]


@given(samples=any_samples(), end_ms=st.integers(-1, 10))
def test_up_to_is_inclusive(samples: Samples, end_ms: int) -> None:
    left = samples.up_to(end_ms)
    assert rows(left) == [row for row in rows(samples) if row[2] <= end_ms]
    assert left.histograms_ms.tolist() == [ms for ms in (5, 3) if ms <= end_ms]
    assert left.surplus_ms.tolist() == [ms for ms in (4, 4, 6) if ms <= end_ms]


@given(samples=any_samples(), data=st.data())
def test_parts_joined_are_the_whole(samples: Samples, data: st.DataObject) -> None:
    size = len(samples.series)
    cut = data.draw(st.integers(0, size))
    ends = samples.ends
    parts = [
        samples.part(first, last, ends) for first, last in ((0, cut), (cut, size)) if last > first
    ]
    joined = Samples.join([*parts, samples.of_series(np.zeros(size, np.bool_))])
    assert rows(joined) == rows(samples)
    assert Samples.join([samples, samples]).histograms_ms.tolist() == [5, 3, 5, 3]
    assert Samples.join([samples, samples]).surplus_ms.tolist() == [4, 4, 6, 4, 4, 6]
