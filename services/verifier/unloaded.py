"""Which ranges hold points that are missing or different without a reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# More ranges than that become fewer and longer ones.
RANGES_MAX = 1000


@dataclass(slots=True)
class Unloaded:
    """Ranges ``(start_ms, end_ms]``, in order, aligned to ``step_ms``: to be extracted again.

    Those that become too many are joined where they are near; they reach no further for that.
    """

    step_ms: int = 1
    ranges: list[tuple[int, int]] = field(default_factory=list)

    def add(self, times_ms: Iterable[NDArray[np.int64]]) -> None:
        """Take in the times of some points."""
        found = [bucket for times in times_ms for bucket in self._buckets(times)]
        self.ranges = _joined([*self.ranges, *found])
        step_ms = self.step_ms
        while len(self.ranges) > RANGES_MAX:
            step_ms *= 2
            first_ms, last_ms = self.ranges[0][0], self.ranges[-1][1]
            self.ranges = _joined(
                (
                    max(first_ms, start // step_ms * step_ms),
                    min(last_ms, -(-end // step_ms) * step_ms),
                )
                for start, end in self.ranges
            )

    def _buckets(self, times_ms: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
        for end_ms in (np.unique(-(-times_ms // self.step_ms)) * self.step_ms).tolist():
            yield end_ms - self.step_ms, end_ms


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start_ms, end_ms in sorted(ranges):
        if joined and start_ms <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end_ms, joined[-1][1])
        else:
            joined.append((start_ms, end_ms))
    return joined
