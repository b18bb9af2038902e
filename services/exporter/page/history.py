"""The last hours of a few figures, in memory: one value of each for every 15 seconds."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import isfinite, nan

STEP_SECONDS = 15
KEPT_SECONDS = 6 * 3600
_DIGITS = 6


class History:
    """A ring of ``KEPT_SECONDS``: 1,440 values of 8 bytes for each column.

    Times are seconds since the epoch; of several values within one step the last is kept.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._size = KEPT_SECONDS // STEP_SECONDS
        self._steps = array("q", [-1]) * self._size
        self._values = [array("d", [nan]) * self._size for _ in self.columns]
        self._latest = -1

    def add(self, at_seconds: float, values: Sequence[float | None]) -> None:
        """Keep these values, one for each column; None is not known."""
        step = int(at_seconds // STEP_SECONDS)
        index = step % self._size
        self._steps[index], self._latest = step, step
        for column, value in zip(self._values, values, strict=True):
            column[index] = nan if value is None else value

    def rows(self, after_seconds: float = 0.0) -> list[list[float | None]]:
        """``[time, value, …]`` of each step after a time, oldest first, six digits of each value.

        The step of that time is given again: it may not have been over.
        """
        if self._latest < 0:
            return []
        oldest = max(self._latest - self._size + 1, int(after_seconds // STEP_SECONDS))
        return [
            [step * STEP_SECONDS, *(_shown(column[step % self._size]) for column in self._values)]
            for step in range(oldest, self._latest + 1)
            if self._steps[step % self._size] == step
        ]


def _shown(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if isfinite(value) else None
