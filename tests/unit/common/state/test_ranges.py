"""Arithmetic of ranges, compared with sets of milliseconds."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from common.state.feeds import Range
from common.state.ranges import clipped, length_ms, merged, overlaps, without

BOUNDS = st.tuples(st.integers(0, 30), st.integers(0, 30))
RANGES = st.lists(BOUNDS, max_size=8)


def times(ranges: Iterable[Range]) -> set[int]:
    """Every millisecond of the half-open ranges, by its end."""
    return {time for start, end in ranges for time in range(start + 1, end + 1)}


def in_order(ranges: list[Range]) -> bool:
    return all(start < end for start, end in ranges) and all(
        left[1] < right[0] for left, right in pairwise(ranges)
    )


@given(RANGES)
def test_merged(ranges: list[Range]) -> None:
    found = merged(ranges)
    assert times(found) == times(ranges)
    assert in_order(found)
    assert length_ms(found) == len(times(ranges))


@given(RANGES, BOUNDS)
def test_clipped(ranges: list[Range], bounds: Range) -> None:
    found = clipped(ranges, *bounds)
    assert times(found) == times(ranges) & times([bounds])
    assert in_order(found)


@given(RANGES, RANGES)
def test_without(ranges: list[Range], taken: list[Range]) -> None:
    found = without(ranges, taken)
    assert times(found) == times(ranges) - times(taken)
    assert in_order(found)


@given(RANGES, BOUNDS)
def test_overlaps(ranges: list[Range], bounds: Range) -> None:
    assert overlaps(merged(ranges), *bounds) == bool(times(ranges) & times([bounds]))
