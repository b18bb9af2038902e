"""Figures of several runs: the median, and how far the runs lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """The same figure of every run, in the order of the runs."""

    runs: tuple[float, ...]

    @classmethod
    def of(cls, runs: Iterable[float]) -> Spread:
        """The spread of these figures; raises :class:`ValueError` when there are none."""
        found = tuple(runs)
        if not found:
            raise ValueError("a spread needs one run at least")
        return cls(found)

    @property
    def median(self) -> float:
        """The middle run; half-way between the two in the middle of an even number."""
        return statistics.median(self.runs)

    def as_json(self) -> dict[str, object]:
        """Median, extremes and every run, rounded to five digits."""
        return {
            "median": digits(self.median),
            "min": digits(min(self.runs)),
            "max": digits(max(self.runs)),
            "runs": [digits(run) for run in self.runs],
        }

    def text(self, format_: str = "{:.2f}") -> str:
        """``median (min-max)``, or the only run."""
        middle = format_.format(self.median)
        if len(self.runs) == 1:
            return middle
        return f"{middle} ({format_.format(min(self.runs))}-{format_.format(max(self.runs))})"


def digits(value: float) -> float:
    """``value`` with five significant digits: no run is repeatable beyond that."""
    return float(f"{value:.5g}")


def spreads(runs: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """The spread of each named figure; every run must have the same names."""
    return {name: Spread.of(run[name] for run in runs) for name in runs[0]}


def text_of(spread: Mapping[str, Any], format_: str = "{:.3f}", scale: float = 1.0) -> str:
    """``median (min-max)`` of a spread in the document."""
    middle, least, most = (
        format_.format(spread[name] * scale) for name in ("median", "min", "max")
    )
    return middle if len(spread["runs"]) == 1 else f"{middle} ({least}-{most})"
