"""The comparison of two sets of points."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.verifier.compare import compare
from services.verifier.points import Column, Points, SeriesKey, join

A = SeriesKey.of("m", {"host": "a"})
B = SeriesKey.of("m", {"host": "b"})

Plain = dict[SeriesKey, dict[int, float]]

values = st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 5e-324, 1e21, 2.0**63])
plain_points: st.SearchStrategy[Plain] = st.dictionaries(
    st.sampled_from([A, B, SeriesKey.of("n", {})]),
    st.dictionaries(st.integers(1, 12), values, min_size=1),
)


def column(points: dict[int, float]) -> Column:
    times = sorted(points)
    return Column(
        np.array(times, dtype=np.int64), np.array([points[t] for t in times], dtype=np.float64)
    )


def as_points(plain: Plain) -> Points:
    return {key: column(points) for key, points in plain.items()}


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def flat(plain: Plain) -> dict[tuple[SeriesKey, int], bytes]:
    return {(key, t): bits(v) for key, points in plain.items() for t, v in points.items()}


@given(plain_points, plain_points)
def test_agrees_with_comparing_one_point_after_the_other(want: Plain, have: Plain) -> None:
    left, right = flat(want), flat(have)
    result = compare(as_points(want), as_points(have))
    assert result.expected == len(left)
    assert result.found == len(right)
    assert result.missing == len(left.keys() - right.keys())
    assert result.extra == len(right.keys() - left.keys())
    assert result.equal == sum(left[at] == right[at] for at in left.keys() & right.keys())
    assert result.different == sum(left[at] != right[at] for at in left.keys() & right.keys())


@given(plain_points, plain_points)
def test_names_exactly_the_points_that_differ(want: Plain, have: Plain) -> None:
    left, right = flat(want), flat(have)
    missing, extra, different, wanted = {}, {}, {}, {}
    for item in compare(as_points(want), as_points(have)).differences:
        missing.update(flat({item.series: dict(zip(*map(list, item.missing), strict=True))}))
        extra.update(flat({item.series: dict(zip(*map(list, item.extra), strict=True))}))
        different.update(flat({item.series: dict(zip(*map(list, item.different), strict=True))}))
        times = item.different.timestamps_ms.tolist()
        wanted.update(
            flat({item.series: dict(zip(times, item.wanted_values.tolist(), strict=True))})
        )
    assert missing == {at: left[at] for at in left.keys() - right.keys()}
    assert extra == {at: right[at] for at in right.keys() - left.keys()}
    odd = {at for at in left.keys() & right.keys() if left[at] != right[at]}
    assert different == {at: right[at] for at in odd}
    assert wanted == {at: left[at] for at in odd}


@given(plain_points)
def test_equal_sets_have_no_differences(plain: Plain) -> None:
    result = compare(as_points(plain), as_points(plain))
    assert result.differences == []
    assert result.equal == sum(map(len, plain.values()))


def test_minus_zero_is_not_zero() -> None:
    result = compare({A: column({1: 0.0, 2: 1.0})}, {A: column({1: -0.0, 2: 1.0})})
    assert (result.different, result.equal) == (1, 1)


def test_another_tag_set_is_missing_here_and_extra_there() -> None:
    result = compare({A: column({1: 1.0})}, {B: column({1: 1.0})})
    assert (result.missing, result.extra, result.different) == (1, 1, 0)


def test_a_nan_read_back_differs_from_every_number() -> None:
    result = compare({A: column({1: 1.0})}, {A: column({1: float("nan")})})
    assert result.different == 1


def test_empty_tags_are_no_tags_and_order_does_not_matter() -> None:
    assert SeriesKey.of("m", {"b": "2", "a": "1", "c": ""}) == SeriesKey.of(
        "m", {"a": "1", "b": "2"}
    )


@given(st.lists(st.tuples(st.integers(1, 5), values), min_size=1))
def test_of_points_with_one_time_the_last_stays(rows: list[tuple[int, float]]) -> None:
    result, rest = join([column({t: v}) for t, v in rows])
    assert {t: bits(v) for t, v in zip(*map(list, result), strict=True)} == {
        t: bits(v) for t, v in rows
    }
    assert (np.diff(result.timestamps_ms) > 0).all()
    everything = [*zip(*map(list, result), strict=True), *zip(*map(list, rest), strict=True)]
    assert sorted((t, bits(v)) for t, v in everything) == sorted((t, bits(v)) for t, v in rows)


def test_joining_lets_the_later_part_win() -> None:
    result, rest = join([column({1: 1.0, 3: 3.0}), column({2: 2.0, 3: 9.0})])
    assert (rest.timestamps_ms.tolist(), rest.values.tolist()) == ([3], [3.0])
    assert result.timestamps_ms.tolist() == [1, 2, 3]
    assert result.values.tolist() == [1.0, 2.0, 9.0]
