"""Ranges of points that are to be extracted again."""

from __future__ import annotations

import numpy as np

from services.verifier.unloaded import RANGES_MAX, Unloaded


def test_a_point_lies_in_the_step_that_ends_at_or_after_it() -> None:
    unloaded = Unloaded(10)
    unloaded.add([np.array([10, 11, 35], np.int64), np.array([20, 50], np.int64)])
    assert unloaded.ranges == [(0, 20), (30, 50)]


def test_pieces_that_adjoin_become_one() -> None:
    unloaded = Unloaded(10)
    unloaded.add([np.array([30], np.int64)])
    unloaded.add([np.array([40, 15], np.int64)])
    assert unloaded.ranges == [(10, 40)]


def test_very_many_become_fewer_that_still_hold_every_point() -> None:
    unloaded = Unloaded(10)
    times = np.arange(10, 10 + 20 * 3 * RANGES_MAX, 20, dtype=np.int64)
    unloaded.add([times])
    assert 0 < len(unloaded.ranges) <= RANGES_MAX
    assert all(start % 10 == end % 10 == 0 for start, end in unloaded.ranges)
    for time_ms in times.tolist():
        assert any(start < time_ms <= end for start, end in unloaded.ranges)


def test_very_many_reach_no_further_than_they_did() -> None:
    """The source may have deleted what lies before them: to extract that again makes a gap."""
    unloaded = Unloaded(10)
    unloaded.add([np.arange(40, 40 + 20 * 3 * RANGES_MAX, 20, dtype=np.int64)])
    unloaded.add([np.array([10 * RANGES_MAX**2 + 10], np.int64)])
    first, *_, last = unloaded.ranges
    assert (first[0], last[1]) == (30, 10 * RANGES_MAX**2 + 10)
