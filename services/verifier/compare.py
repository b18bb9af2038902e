"""The pure heart of ``verify``: two sets of points in, their differences out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.verifier.points import NOTHING, Column, Points, SeriesKey, equal


@dataclass(frozen=True, slots=True)
class Difference:
    """Where one series differs, one column for each way of differing (each may be empty).

    ``missing``: expected and not found. ``extra``: found and not expected. ``different``:
    found with another value; ``wanted_values`` are what was expected there.
    """

    series: SeriesKey
    missing: Column
    extra: Column
    different: Column
    wanted_values: NDArray[np.float64]


@dataclass(slots=True)
class Comparison:
    """Counts in points, and the differences of those series that have any."""

    expected: int = 0
    found: int = 0
    equal: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """Points expected and not found."""
        return sum(len(item.missing.values) for item in self.differences)

    @property
    def extra(self) -> int:
        """Points found and not expected."""
        return sum(len(item.extra.values) for item in self.differences)

    @property
    def different(self) -> int:
        """Points found with another value than expected."""
        return sum(len(item.different.values) for item in self.differences)


def compare(expected: Points, found: Points) -> Comparison:
    """Compare point by point: tag set, timestamp, and the 64 bits of the value.

    Bits, not ``==``: 0.0 and -0.0 are two values, and a NaN equals itself.
    """
    result = Comparison()
    for series in (*expected, *(series for series in found if series not in expected)):
        want, have = expected.get(series, NOTHING), found.get(series, NOTHING)
        result.expected += len(want.values)
        result.found += len(have.values)
        aligned = np.array_equal(want.timestamps_ms, have.timestamps_ms)
        if aligned and equal(want.values, have.values).all():
            result.equal += len(want.values)
            continue
        if aligned:
            in_want = in_have = np.arange(len(want.values))
        else:
            _, in_want, in_have = np.intersect1d(
                want.timestamps_ms, have.timestamps_ms, assume_unique=True, return_indices=True
            )
        odd = ~equal(want.values[in_want], have.values[in_have])
        result.equal += int(np.count_nonzero(~odd))
        result.differences.append(
            Difference(
                series,
                missing=want.take(_without(len(want.values), in_want)),
                extra=have.take(_without(len(have.values), in_have)),
                different=have.take(in_have[odd]),
                wanted_values=want.values[in_want[odd]],
            )
        )
    return result


def _without(length: int, indices: NDArray[np.intp]) -> NDArray[np.bool_]:
    mask = np.ones(length, dtype=np.bool_)
    mask[indices] = False
    return mask
