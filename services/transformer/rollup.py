"""Cleaned samples rolled up: one point of several aggregates for each series and bucket of time.

What the aggregates are is said in :mod:`common.samples.rollup`. Sums are made by subtraction, which
goes through a bucket in the order of time; ``add.reduceat`` would add in pairs, in an order that is
numpy's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.samples.columns import Samples
from common.samples.rollup import LEAD_IN_MS, Rollup, rollup_key
from services.transformer.clean import Drops, SampleDrop

# Why samples are no points of their own: a bucket of n samples is one point, n - 1 are dropped.
ROLLED_UP = "rolled_up"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RolledUp:
    """Points of S series, series-major.

    ``keys``: series keys, length S. ``counts``: int64[S], points of each. ``timestamps_ms``:
    int64[M], the ends of the buckets. ``fields``: float64[M] of each aggregate, by name, in order.
    """

    keys: tuple[bytes, ...]
    counts: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    fields: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.timestamps_ms)


def roll_up(kept: Samples, start_ms: int, end_ms: int, rollup: Rollup) -> tuple[RolledUp, Drops]:
    """The points in ``(start_ms, end_ms]``, and how many samples are none of them.

    ``kept`` has no two samples of one key and time, and none that is no number. Those before the
    first bucket are what it increases from, those of a bucket that ends later belong to the window
    that it ends in. A point with an aggregate that no float64 can hold is dropped as ``inf``.
    """
    samples = _sorted(kept)
    # The bucket (t - resolution, t] has the number t / resolution - 1.
    numbers = (samples.timestamps_ms - 1) // rollup.resolution_ms
    is_first = np.empty(len(samples), np.bool_)
    np.not_equal(numbers[1:], numbers[:-1], out=is_first[1:])
    is_first[samples.starts] = True
    firsts = np.flatnonzero(is_first)
    ends_ms = (numbers[firsts] + 1) * rollup.resolution_ms
    columns = _aggregates(samples, ends_ms, firsts, rollup)
    wanted = (ends_ms > start_ms) & (ends_ms <= end_ms)
    points = int(np.count_nonzero(wanted))
    drops: Drops = {}
    finite = np.logical_and.reduce([np.isfinite(column) for column in columns.values()])
    if not finite[wanted].all():
        drops[str(SampleDrop.INF)] = points - int(np.count_nonzero(wanted & finite))
        wanted &= finite
    if len(samples) > points:
        drops[ROLLED_UP] = len(samples) - points
    last_points = np.searchsorted(firsts[wanted], samples.ends)
    counts = np.diff(last_points, prepend=0).astype(np.int64, copy=False)
    found = counts > 0
    return (
        RolledUp(
            tuple(
                rollup_key(key)
                for key, has in zip(samples.keys, found.tolist(), strict=True)
                if has
            ),
            counts[found],
            ends_ms[wanted],
            # A zero has no sign: which of two zeros is the smaller one, nobody can tell.
            {name: columns[name][wanted] + 0.0 for name in rollup.aggregates},
        ),
        drops,
    )


def _sorted(kept: Samples) -> Samples:
    """Samples by key and time, with each key once, and none without samples."""
    if not kept.counts.all():
        kept = kept.of_series(kept.counts > 0)
    numbers: dict[bytes, int] = {}
    of_series = np.fromiter(
        (numbers.setdefault(key, len(numbers)) for key in kept.keys), np.int64, len(kept.keys)
    )
    times_ms = kept.timestamps_ms
    rising = times_ms[1:] > times_ms[:-1]
    rising[kept.starts[1:] - 1] = True
    if len(numbers) == len(kept.keys) and rising.all():
        return kept
    series = np.repeat(of_series, kept.counts)
    order = np.lexsort((times_ms, series))
    keys = tuple(numbers)
    counts = np.bincount(series, minlength=len(keys)).astype(np.int64)
    return Samples(keys, counts, times_ms[order], kept.values[order], keys)


def _aggregates(
    samples: Samples, ends_ms: NDArray[np.int64], firsts: NDArray[np.intp], rollup: Rollup
) -> dict[str, Floats]:
    """Of each bucket, which begins with the sample at one of ``firsts`` and ends at ``ends_ms``."""
    if not len(firsts):
        return {name: np.empty(0) for name in rollup.aggregates}
    values, wanted = samples.values, frozenset(rollup.aggregates)
    sizes = np.diff(firsts, append=len(values))
    found: dict[str, Floats] = {"count": sizes.astype(np.float64)}
    with np.errstate(over="ignore", invalid="ignore"):
        if wanted & {"sum", "avg", "stddev"}:
            found["sum"] = _sums(-values, firsts)
            found["avg"] = found["sum"] / found["count"]
        if "stddev" in wanted:
            distances = values - np.repeat(found["avg"], sizes)
            found["stddev"] = np.sqrt(_sums(-distances * distances, firsts) / found["count"])
        if "increase" in wanted:
            found["increase"] = _sums(_decreases(samples, ends_ms, firsts, rollup), firsts)
    found["min"] = np.minimum.reduceat(values, firsts)
    found["max"] = np.maximum.reduceat(values, firsts)
    found["first"] = values[firsts]
    found["last"] = values[firsts + sizes - 1]
    return {name: found[name] for name in rollup.aggregates}


def _sums(negated: Floats, firsts: NDArray[np.intp]) -> Floats:
    """The sum of each bucket's values, given what they are times -1, which is overwritten.

    The first value minus all others: of several ways to add, and they differ in the last bits, that
    leaves one after the other.
    """
    negated[firsts] *= -1
    return np.asarray(np.subtract.reduceat(negated, firsts), np.float64)


def _decreases(
    samples: Samples, ends_ms: NDArray[np.int64], firsts: NDArray[np.intp], rollup: Rollup
) -> Floats:
    """How much each sample is less than the one before it."""
    values, times_ms = samples.values, samples.timestamps_ms
    decreases = np.empty(len(values))
    later = decreases[1:]
    np.subtract(values[:-1], values[1:], out=later)
    # Where a counter began again, it has increased from 0.
    restarted = np.flatnonzero(values[1:] < values[:-1])
    later[restarted] = -values[restarted + 1]
    decreases[samples.starts] = 0.0
    # Where the sample before a bucket is too old, the bucket's first one adds nothing.
    bounds_ms = ends_ms - (rollup.resolution_ms + LEAD_IN_MS)
    decreases[firsts[times_ms[firsts - 1] <= bounds_ms]] = 0.0
    return decreases
