"""A few of the points that differ without a reason: one example for a series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from services.verifier.points import SeriesKey

SERIES_MAX = 3

# Of a rollup one of each aggregate.
Value = float | tuple[float, ...]


class Example(NamedTuple):
    """Points of one series that are unexplained in one way, and the first of them.

    ``points`` of them lie in ``[timestamp_ms, last_ms]``. ``expected`` or ``found`` is None where
    there is none.
    """

    kind: str
    series: SeriesKey
    timestamp_ms: int
    expected: Value | None
    found: Value | None
    points: int
    last_ms: int


@dataclass(slots=True)
class SeriesExample:
    """One series: how many points differ in which way, the first of them, the time of the last."""

    first: Example
    points: Counter[str] = field(default_factory=Counter)
    last_ms: int = 0

    def add(self, example: Example) -> None:
        """Count another one of the same series."""
        if example.timestamp_ms < self.first.timestamp_ms:
            self.first = example
        self.points[example.kind] += example.points
        self.last_ms = max(self.last_ms, example.last_ms)


@dataclass(slots=True)
class Examples:
    """The first ``SERIES_MAX`` series that differ, each counted over the whole range."""

    by_series: dict[SeriesKey, SeriesExample] = field(default_factory=dict)

    def add(self, examples: Iterable[Example]) -> None:
        """Take in what one piece of the range has."""
        for example in examples:
            known = self.by_series.get(example.series)
            if known is None:
                if len(self.by_series) >= SERIES_MAX:
                    continue
                known = self.by_series[example.series] = SeriesExample(example)
            known.add(example)
