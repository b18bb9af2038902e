"""The digests of windows, computed from points that were read back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from common.samples.rollup import field_key
from common.samples.seal import Digest, series_key
from common.samples.seal_columns import point_hashes, series_factors
from services.verifier.points import Column, SeriesKey

# Sums of 32-bit halves of so many hashes are exact in a float64.
_EXACT_POINTS = 1 << 20
_LOW_BITS = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def rollup_digests(
    series: Iterable[tuple[SeriesKey, Column]], ends_ms: list[int], fields: Sequence[str]
) -> list[Digest]:
    """The same of rollups with these ``fields``: the sum over all that their points have.

    Each point counts once.
    """
    found = list(series)
    totals = [Digest()] * len(ends_ms)
    for at, name in enumerate(fields):
        of_field = []
        for key, (times_ms, values) in found:
            has = ~np.isnan(values[:, at])
            of_field.append((field_key(key_of(key), name), Column(times_ms[has], values[has, at])))
        of_windows = _digests(of_field, ends_ms)
        totals = [total + one for total, one in zip(totals, of_windows, strict=True)]
    times = np.concatenate([np.empty(0, np.int64), *(column.timestamps_ms for _, column in found)])
    windows = np.searchsorted(np.array(ends_ms), times, "left")
    points = np.bincount(windows, minlength=len(ends_ms)).tolist()
    return [Digest(number, total.sums) for number, total in zip(points, totals, strict=True)]


def window_digests(series: Iterable[tuple[SeriesKey, Column]], ends_ms: list[int]) -> list[Digest]:
    """One for each window, which ends at one of ``ends_ms`` (rising) where the next begins.

    No point may lie after the last of them. What is before the first belongs to that one.
    """
    return _digests([(key_of(key), column) for key, column in series], ends_ms)


def _digests(found: Sequence[tuple[bytes, Column]], ends_ms: list[int]) -> list[Digest]:
    empty = [Digest()] * len(ends_ms)
    if not found:
        return empty
    times = np.concatenate([column.timestamps_ms for _, column in found])
    values = np.concatenate([column.values for _, column in found])
    lengths = [len(column.values) for _, column in found]
    factors = series_factors(key for key, _ in found)
    hashes = point_hashes(times, values)
    for of_sum, factor in zip(hashes, factors, strict=True):
        of_sum *= np.repeat(factor, lengths)
    windows = np.searchsorted(np.array(ends_ms), times, "left")
    totals = empty
    for start in range(0, len(times), _EXACT_POINTS):
        part = slice(start, start + _EXACT_POINTS)
        totals = [
            total + one
            for total, one in zip(
                totals, _sums(windows[part], hashes[:, part], len(ends_ms)), strict=True
            )
        ]
    return totals


def _sums(windows: np.ndarray, hashes: np.ndarray, count: int) -> list[Digest]:
    points = np.bincount(windows, minlength=count).tolist()
    halves = [
        np.bincount(windows, half.astype(np.float64), count)
        for of_sum in hashes
        for half in (of_sum & _LOW_BITS, of_sum >> _HALF)
    ]
    return [
        Digest(number) + Digest(0, (int(low) + (int(high) << 32), int(low2) + (int(high2) << 32)))
        for number, low, high, low2, high2 in zip(points, *halves, strict=True)
    ]


@lru_cache(maxsize=200_000)
def key_of(series: SeriesKey) -> bytes:
    """The series key as line protocol writes it, with the field."""
    return series_key(series.measurement, series.tags, series.field)
