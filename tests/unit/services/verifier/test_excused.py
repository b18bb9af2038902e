"""What was taken of an allowance in one piece is not there for the others."""

from __future__ import annotations

from services.verifier.explain import Range, Spent
from services.verifier.proving.excused import Excused

PURGED = "purged", Range(0, 1000)


def taken(points: int) -> Spent:
    return Spent({PURGED: points})


def test_what_other_pieces_took_is_summed() -> None:
    excused = Excused()
    excused.keep("raw", 0, 100, taken(2))
    excused.keep("raw", 100, 200, taken(3))
    excused.keep("other", 0, 100, taken(7))
    assert excused.outside("raw", 200, 300) == taken(5)
    assert excused.outside("raw", 50, 100) == taken(3)


def test_a_comparison_without_a_result_forgets_nothing() -> None:
    """The sink was too slow, for example: its points are still excused where they were."""
    excused = Excused()
    excused.keep("raw", 0, 100, taken(2))
    assert excused.outside("raw", 0, 100) == Spent()
    assert excused.outside("raw", 100, 200) == taken(2)


def test_a_result_replaces_what_it_overlaps() -> None:
    excused = Excused()
    excused.keep("raw", 0, 100, taken(2))
    excused.keep("raw", 50, 150, taken(1))
    assert excused.outside("raw", 200, 300) == taken(1)
    excused.keep("raw", 0, 150, Spent())
    assert excused.outside("raw", 200, 300) == Spent()
