"""The record of what is proven: what was compared, and the ranges of it that differ."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.state.proven import DIFFERING_MAX, LATELY_MAX, Differing, Lately, Proven
from common.state.ranges import length_ms, without

RESULTS = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 3)), max_size=250)
COMPARED = ((100, 300),)


def test_what_was_compared_is_kept() -> None:
    proven = Proven(100).with_range(100, 200, 0, 1).with_range(200, 300, 4, 2)
    assert proven == Proven(100, COMPARED, (Differing(200, 300, 4, 2),))
    assert (proven.points, proven.up_to_ms) == (4, 300)


def test_all_is_proven_up_to_the_first_range_that_was_not_compared() -> None:
    proven = Proven(100).with_range(200, 300, 0, 1)
    assert proven.up_to_ms == 100
    assert proven.with_range(50, 80, 0, 1).with_range(100, 150, 0, 1).up_to_ms == 150
    assert proven.with_range(100, 200, 0, 1).up_to_ms == 300


def test_a_range_that_is_equal_again_is_forgotten() -> None:
    proven = Proven(100, COMPARED, (Differing(100, 200, 4, 1), Differing(250, 300, 1, 1)))
    left = (Differing(250, 300, 1, 1),)
    assert proven.with_range(100, 200, 0, 9) == Proven(100, COMPARED, left)


def test_a_range_that_still_differs_has_its_latest_count() -> None:
    proven = Proven(100, COMPARED, (Differing(100, 200, 4, 1),))
    assert proven.with_range(100, 200, 2, 9).differing == (Differing(100, 200, 2, 9),)


def test_ranges_that_adjoin_are_one() -> None:
    proven = Proven(100).with_range(100, 200, 4, 1).with_range(200, 300, 2, 5)
    assert proven.differing == (Differing(100, 300, 6, 1),)


def test_what_the_seals_found_is_not_joined_with_what_the_source_found() -> None:
    proven = Proven(100).with_range(100, 200, 4, 1, by_seals=True).with_range(200, 300, 2, 5)
    assert proven.differing == (Differing(100, 200, 4, 1, True), Differing(200, 300, 2, 5))
    assert Proven.parse(proven.encode()) == proven


def test_time_that_was_opened_again_is_not_proven() -> None:
    proven = Proven(100, ((100, 400),), (Differing(100, 200, 4, 1), Differing(250, 300, 1, 1)))
    assert proven.within([(0, 500)]) == proven
    # The rest of what was compared remains so.
    opened = proven.within([(0, 210), (240, 500)])
    assert (opened.compared, opened.differing) == (((100, 210), (240, 400)), proven.differing)
    # A range that differs is compared whole, or not at all.
    opened = proven.within([(0, 270), (280, 500)])
    assert (opened.compared, opened.differing) == (((100, 250), (300, 400)), proven.differing[:1])


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
    "text",
    [
        *("null", "[]", "{}", '{"up_to_ms": 1}', '{"up_to_ms": 1, "differing": [[1]]}'),
        '{"live_from_ms": 1, "compared": [[1]], "differing": []}',
    ],
)
def test_what_somebody_else_wrote_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no record of what is proven"):
        Proven.parse(text)


def test_what_an_older_version_kept_is_read() -> None:
    text = '{"up_to_ms": 300, "differing": [[100, 200, 4, 1]], "from_ms": 50, "older": [[50, 100]]}'
    assert Proven.parse(text) == Proven(50, COMPARED, (Differing(100, 200, 4, 1),))


# -- what was compared of late -------------------------------------------------------------------

DAY_MS = 86_400_000
HOUR_MS = DAY_MS // 24


def compared(proven: Proven, start_ms: int, end_ms: int, at_ms: int) -> Proven:
    return proven.with_range(start_ms, end_ms, 0, at_ms).noted(start_ms, end_ms, at_ms, DAY_MS)


def test_what_was_compared_lately_is_to_be_compared_again_and_nothing_else() -> None:
    proven = compared(compared(Proven(0), 0, 100, 1), 100, 300, DAY_MS + 1)
    assert proven.lately == (Lately(100, 300, DAY_MS + 1),), "the rest was longer ago"
    doubted = proven.doubted(DAY_MS)
    assert (doubted.compared, doubted.lately) == (((0, 100),), proven.lately)
    assert proven.doubted(DAY_MS + 1) == proven
    assert Proven.parse(doubted.encode()) == doubted


def test_what_is_compared_again_keeps_its_time() -> None:
    """One that is started each day has no more compared again than what is new of a day."""
    doubted = compared(Proven(0), 0, 100, 1).doubted(0)
    again = compared(doubted, 0, 100, DAY_MS // 2)
    assert (again.compared, again.lately) == (((0, 100),), (Lately(0, 100, 1),))
    longer = compared(doubted, 0, 150, DAY_MS // 2)
    assert longer.lately == (Lately(0, 100, 1), Lately(100, 150, DAY_MS // 2))


def test_what_was_opened_again_is_compared_for_the_first_time() -> None:
    opened = compared(Proven(0), 0, 100, 1).within([(0, 40), (60, 200)])
    assert opened.lately == (Lately(0, 40, 1), Lately(60, 100, 1))
    assert compared(opened, 40, 60, HOUR_MS).lately[1] == Lately(40, 60, HOUR_MS)


def test_what_differs_is_compared_again_in_any_case() -> None:
    proven = compared(Proven(0), 0, 300, 1).with_range(100, 200, 4, 1)
    assert proven.doubted(0).compared == ((100, 200),)
    assert proven.doubted(0).points == 4


def test_nothing_is_noted_where_nothing_is_asked() -> None:
    assert compared(Proven(0), 0, 100, 1).noted(100, 200, 2, 0).lately == ()


def test_a_day_of_what_is_live_takes_few_notes() -> None:
    proven = Proven(0)
    for at_ms in range(0, 3 * DAY_MS, HOUR_MS // 12):
        proven = compared(proven, at_ms, at_ms + HOUR_MS // 12, at_ms)
    assert len(proven.lately) <= 26
    assert length_ms(one[:2] for one in proven.lately) == pytest.approx(DAY_MS, rel=0.05)


@given(st.lists(st.integers(0, 10_000), max_size=300, unique=True))
def test_however_many_were_compared_few_notes_are_kept_and_none_is_forgotten(
    starts: list[int],
) -> None:
    proven = Proven(0)
    for number, start in enumerate(starts):
        proven = compared(proven, 2 * start, 2 * start + 1, number * HOUR_MS // 100)
    assert len(proven.lately) <= LATELY_MAX
    assert all(one.end_ms <= two.start_ms for one, two in pairwise(proven.lately))
    assert not without(proven.compared, (one[:2] for one in proven.lately))
    assert proven.doubted(-1).compared == ()


def test_what_an_older_version_kept_has_no_notes() -> None:
    text = '{"live_from_ms": 1, "compared": [[1, 5]], "differing": []}'
    assert Proven.parse(text).lately == ()
