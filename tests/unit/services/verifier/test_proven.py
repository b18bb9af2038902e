"""The record of what is proven: its cursor, and the ranges that differ."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.verifier.proving.proven import DIFFERING_MAX, Differing, Proven

RESULTS = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 3)), max_size=250)


def test_results_move_the_cursor() -> None:
    proven = Proven(100).with_range(100, 200, 0, 1).with_range(200, 300, 4, 2)
    assert proven == Proven(300, (Differing(200, 300, 4, 2),))
    assert proven.points == 4


def test_a_range_that_is_equal_again_is_forgotten() -> None:
    proven = Proven(300, (Differing(100, 200, 4, 1), Differing(250, 300, 1, 1)))
    assert proven.with_range(100, 200, 0, 9) == Proven(300, (Differing(250, 300, 1, 1),))


def test_a_range_that_still_differs_has_its_latest_count() -> None:
    proven = Proven(300, (Differing(100, 200, 4, 1),))
    assert proven.with_range(100, 200, 2, 9) == Proven(300, (Differing(100, 200, 2, 9),))


def test_ranges_that_adjoin_are_one() -> None:
    proven = Proven(100).with_range(100, 200, 4, 1).with_range(200, 300, 2, 5)
    assert proven.differing == (Differing(100, 300, 6, 1),)


def test_what_the_seals_found_is_not_joined_with_what_the_source_found() -> None:
    proven = Proven(100).with_range(100, 200, 4, 1, by_seals=True).with_range(200, 300, 2, 5)
    assert proven.differing == (Differing(100, 200, 4, 1, True), Differing(200, 300, 2, 5))
    assert Proven.parse(proven.encode()) == proven


def test_what_an_older_version_kept_was_found_by_the_source() -> None:
    proven = Proven.parse('{"up_to_ms": 300, "differing": [[100, 200, 4, 1]]}')
    assert proven == Proven(300, (Differing(100, 200, 4, 1),))


def test_time_that_was_opened_again_is_not_proven() -> None:
    proven = Proven(400, (Differing(100, 200, 4, 1), Differing(250, 300, 1, 1)))
    assert proven.back_to(500) == proven
    assert proven.back_to(320) == Proven(320, proven.differing)
    # A range is compared whole, or not at all.
    assert proven.back_to(270) == Proven(250, proven.differing[:1])


@given(RESULTS)
def test_however_many_differ_few_ranges_are_kept_and_no_point_is_forgotten(
    results: list[tuple[int, int]],
) -> None:
    proven, position, points = Proven(0), 0, 0
    for number, (length, found) in enumerate(results):
        proven = proven.with_range(position, position + length, found, number)
        position += length
        points += found
    assert proven.up_to_ms == position
    assert proven.points == points
    assert len(proven.differing) <= DIFFERING_MAX
    assert all(one.end_ms < two.start_ms for one, two in pairwise(proven.differing))
    assert Proven.parse(proven.encode()) == proven


@pytest.mark.parametrize(
    "text", ["null", "[]", "{}", '{"up_to_ms": 1}', '{"up_to_ms": 1, "differing": [[1]]}']
)
def test_what_somebody_else_wrote_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no record of what is proven"):
        Proven.parse(text)


def test_what_a_backfill_loaded_before_the_origin_is_to_be_proven_too() -> None:
    proven = Proven(300).since(100)
    assert (proven.from_ms, proven.older) == (100, ())

    earlier = proven.since(50).with_range(300, 400, 0, 1)
    assert earlier.older == ((50, 100),)
    assert earlier.with_range(50, 70, 0, 1).since(20).older == ((20, 50), (70, 100))
    assert earlier.with_range(50, 100, 0, 1).older == ()
    assert Proven.parse(earlier.encode()) == earlier


def test_what_is_older_goes_back_with_the_rest() -> None:
    proven = Proven(300, from_ms=100).since(50)
    assert proven.back_to(80).since(50) == Proven(80, from_ms=50, older=((50, 80),))
    assert proven.since(200) == Proven(300, from_ms=200)


def test_an_older_version_does_not_say_where_it_began() -> None:
    proven = Proven.parse('{"up_to_ms": 300, "differing": []}')
    assert proven.since(100) == Proven(300, from_ms=100)
