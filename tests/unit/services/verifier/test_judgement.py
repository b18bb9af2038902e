"""What the outcome of a check of seals says of a range that the source has deleted."""

from __future__ import annotations

import pytest

from services.verifier.proving.judgement import Damaged, judge
from services.verifier.sealed.outcome import DAMAGE, UNCHECKED, Kind, QueryOutcome


def outcome(*found: tuple[Kind, int, int, int, int]) -> QueryOutcome:
    """Windows that are not intact: kind, bounds, points sealed and found."""
    made = QueryOutcome("up", 0, 100)
    for each in found:
        made.add(*each)
    return made


def test_all_that_nothing_is_said_of_is_intact() -> None:
    found = judge(outcome(), 0, 100, 100, 0)
    assert (found.end_ms, found.intact_ms, found.unproven_ms, found.points) == (100, 100, 0, 0)


@pytest.mark.parametrize(
    ("kind", "sealed", "found", "points"),
    [
        (Kind.THINNED, 10, 7, 3),
        (Kind.DELETED, 10, 0, 10),
        (Kind.EXTRA, 10, 14, 4),
        (Kind.ALTERED, 10, 10, 1),  # at least
    ],
)
def test_damage_differs(kind: Kind, sealed: int, found: int, points: int) -> None:
    judged = judge(outcome((kind, 20, 30, sealed, found)), 0, 100, 100, 0)
    assert judged.damaged == (Damaged(20, 30, points),)
    assert (judged.intact_ms, judged.unproven_ms) == (90, 0)


def test_as_many_points_as_windows_differ_at_least() -> None:
    found = judge(outcome(*((Kind.ALTERED, n, n + 1, 5, 5) for n in range(4))), 0, 100, 100, 0)
    assert found.damaged == (Damaged(0, 4, 4),)


@pytest.mark.parametrize("kind", [*UNCHECKED, Kind.EXPIRED])
def test_what_could_not_be_checked_is_unproven(kind: Kind) -> None:
    found = judge(outcome((kind, 20, 30, 0, 0)), 0, 100, 100, 0)
    assert (found.intact_ms, found.unproven_ms, found.damaged) == (90, 10, ())


def test_no_kind_but_intact_counts_as_intact() -> None:
    assert {*DAMAGE, *UNCHECKED, Kind.EXPIRED, Kind.INTACT} == set(Kind)


def test_time_counts_once_and_only_that_of_the_range() -> None:
    made = outcome((Kind.REPLACED, -10, 20, 0, 0), (Kind.THINNED, 10, 30, 9, 8))
    made.unsealed += [(15, 25), (90, 120)]
    found = judge(made, 0, 100, 100, 5)
    assert found.damaged == (Damaged(10, 30, 1),)
    assert (found.intact_ms, found.unproven_ms) == (60, 20)


def test_it_goes_on_to_the_end_of_the_last_damage() -> None:
    made = outcome((Kind.THINNED, 90, 110, 9, 8))
    found = judge(made, 0, 100, 200, 0)
    assert (found.end_ms, found.damaged) == (110, (Damaged(90, 110, 1),))
    assert (found.intact_ms, found.unproven_ms) == (90, 0)
    found = judge(made, 0, 100, 105, 0)
    assert (found.end_ms, found.damaged) == (105, (Damaged(90, 105, 1),))


def test_what_retention_may_have_deleted_is_unproven() -> None:
    found = judge(outcome(), 50, 100, 100, 70)
    assert (found.intact_ms, found.unproven_ms) == (30, 20)
    found = judge(outcome(), 50, 100, 100, 170)
    assert (found.intact_ms, found.unproven_ms) == (0, 50)
