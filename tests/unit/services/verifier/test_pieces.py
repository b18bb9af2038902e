"""How much of a feed is compared at once."""

from __future__ import annotations

import pytest

from services.verifier.proving.pieces import (
    FIRST_PIECE_MS,
    LONGEST_PIECE_MS,
    SHORTEST_BY_TIME_MS,
    PieceLengths,
)


@pytest.mark.parametrize(
    ("length_ms", "share", "took_seconds", "next_ms"),
    [
        (400_000, 0.5, 1, 800_000),  # twice as much is as much as one should have
        (400_000, 0.0, 1, 1_600_000),  # no more than four times as long
        (400_000, 2.0, 1, 200_000),
        (400_000, 100.0, 1, 100_000),  # no less than a quarter
        (400_000, 0.5, 10, 200_000),  # a quarter of the time-out, 5 s, is half of what it took
        (400_000, 0.5, 5, 400_000),
        (80_000, 0.5, 1000, SHORTEST_BY_TIME_MS),
        (15_000, 0.5, 1000, 15_000),  # time makes none shorter than that
        (LONGEST_PIECE_MS, 0.1, 1, LONGEST_PIECE_MS),
        (1, 1000.0, 1, 1),
    ],
)
def test_the_next_follows_the_last(
    length_ms: int, share: float, took_seconds: float, next_ms: int
) -> None:
    pieces = PieceLengths(20.0)
    pieces.done("a", length_ms, share=share, took_seconds=took_seconds)
    assert pieces.of("a") == next_ms
    assert pieces.of("b") == FIRST_PIECE_MS
    assert pieces.of("b", 7) == 7


def test_what_is_slow_whatever_its_length_does_not_shrink_to_nothing() -> None:
    pieces = PieceLengths(20.0)
    for _ in range(50):
        pieces.done("a", pieces.of("a"), share=0.5, took_seconds=15)
    assert pieces.of("a") == SHORTEST_BY_TIME_MS


def test_what_did_not_come_is_asked_for_with_a_quarter() -> None:
    pieces = PieceLengths(20.0)
    pieces.too_long("a", 100_000)
    assert pieces.of("a") == 25_000
    pieces.too_long("a", 1)
    assert pieces.of("a") == 1


def test_sealed_points_come_back_by_and_by() -> None:
    pieces = PieceLengths(20.0)
    assert pieces.points("a", 400_000) == 400_000
    pieces.too_many("a", 400_000)
    assert pieces.points("a", 400_000) == 100_000
    pieces.done("a", 1_000, share=0.1, took_seconds=1)
    assert pieces.points("a", 400_000) == 125_001
    for _ in range(20):
        pieces.done("a", 1_000, share=0.1, took_seconds=1)
    assert pieces.points("a", 400_000) == 400_000
