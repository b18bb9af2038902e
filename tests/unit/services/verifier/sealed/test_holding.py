"""Which seals hold where windows were loaded more than once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from common.samples.seal import Digest
from services.verifier.sealed.holding import holding, stretches
from services.verifier.sealed.seals import Page, Seal


def seal(start_ms: int, end_ms: int, sealed_ms: int = 0, points: int = 1) -> Seal:
    return Seal(start_ms, end_ms, Digest(points, (points, 0)), sealed_ms)


WINDOWS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 10)).map(lambda w: (w[0], w[0] + w[1])),
    max_size=12,
).map(lambda bounds: [seal(*window, sealed_ms=age) for age, window in enumerate(bounds)])


@given(WINDOWS)
def test_what_holds_is_what_nothing_newer_touches(windows: list[Seal]) -> None:
    held = holding(windows, [])
    for one in windows:
        newer: set[int] = set()
        for other in windows:
            if other.sealed_ms > one.sealed_ms:
                newer.update(range(other.start_ms, other.end_ms))
        time = set(range(one.start_ms, one.end_ms))
        assert (one in held.windows) == (not time & newer)
        assert (one in held.partial) == (bool(time & newer) and bool(time - newer))


@given(WINDOWS)
def test_the_gaps_are_the_time_of_no_seal(windows: list[Seal]) -> None:
    covered = {ms for one in windows for ms in range(one.start_ms, one.end_ms)}
    gaps = list(holding(windows, []).covered.gaps(5, 35))
    assert [ms for start, end in gaps for ms in range(start, end)] == [
        ms for ms in range(5, 35) if ms not in covered
    ]


@given(WINDOWS, st.lists(st.integers(1, 39), unique=True).map(sorted), st.integers(0, 3))
def test_what_holds_is_the_same_in_stretches(
    drawn: list[Seal], cuts_ms: list[int], more_ms: int
) -> None:
    windows = list({one.end_ms: one for one in drawn}.values())
    replays = [replace(one, sealed_ms=100) for one in windows[::2]]
    whole = holding(windows, replays)
    bounds = [-1, *cuts_ms, 45]
    pages = [
        Page(
            [one for one in windows if start_ms < one.end_ms <= end_ms],
            [one for one in replays if start_ms < one.end_ms <= end_ms],
            end_ms,
            end_ms == 45,
        )
        for start_ms, end_ms in pairwise(bounds)
    ]
    longest_ms = max((one.end_ms - one.start_ms for one in windows), default=0) + more_ms
    held, partial, gaps, done_ms = [], [], [], 0
    for found, end_ms in stretches(pages, longest_ms):
        held += found.windows
        partial += found.partial
        gaps += [ms for span in found.covered.gaps(done_ms, end_ms) for ms in range(*span)]
        done_ms = max(done_ms, end_ms)
    assert (held, partial) == (whole.windows, whole.partial)
    assert gaps == [ms for span in whole.covered.gaps(0, 45) for ms in range(*span)]


def test_what_cannot_be_overlapped_any_more_is_forgotten() -> None:
    pages = (Page([seal(2 * n, 2 * n + 1)], [], 2 * n + 1, last=False) for n in range(1000))
    assert max(len(found.covered.starts_ms) for found, _ in stretches(pages, 10)) < 20


def test_what_was_replayed_adds_to_exactly_its_window() -> None:
    windows = [seal(0, 10, 5, points=4), seal(10, 20, 5, points=4)]
    replays = [seal(0, 10, 6, points=2), seal(10, 20, 4, points=2), seal(20, 30, 9, points=2)]
    held = holding(windows, replays)
    assert [one.digest for one in held.windows] == [Digest(6, (6, 0)), Digest(4, (4, 0))]


def test_a_replay_that_cannot_be_read_makes_its_window_unreadable() -> None:
    held = holding([seal(0, 10, 5)], [Seal(0, 10, None, 5)])
    assert held.windows == [Seal(0, 10, None, 5)]


def test_a_replay_of_another_extraction_makes_its_window_unreadable() -> None:
    first = Seal(0, 10, Digest(4, (4, 0)), 5, "w1")
    held = holding([first], [Seal(0, 10, Digest(1, (1, 0)), 6, "w0")])
    assert [one.digest for one in held.windows] == [None]
    held = holding([first], [Seal(0, 10, Digest(1, (1, 0)), 4, "w0")])
    assert held.windows == [first]
