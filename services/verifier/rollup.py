"""Rollups as they should be, computed sample by sample from the definition alone.

The definition is that of :mod:`common.samples.rollup`; the transformer computes in columns, and
shares nothing with this.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.samples.rollup import AGGREGATES, LEAD_IN_MS, Rollup
from services.verifier.points import Column, Points, SeriesKey

_PREFIX = "label_"


@dataclass(frozen=True, slots=True)
class Rolled:
    """Points of rollups; ``counts``: float64[N] for each series, of how many samples each is."""

    points: Points
    counts: Mapping[SeriesKey, Column]


def rollup_of(
    samples: Points, start_ms: int, end_ms: int, rollup: Rollup, fields: Sequence[str]
) -> Rolled:
    """The points in ``(start_ms, end_ms]``, with their aggregates in the order of ``fields``.

    Those that the rollup does not have are NaN, and a point that has none of them is left out.
    """
    points: dict[SeriesKey, Column] = {}
    counts: dict[SeriesKey, Column] = {}
    with_count = Rollup.of(rollup.resolution_ms, (*rollup.aggregates, "count"))
    for key, column in samples.items():
        found = rolled_up(column, start_ms, end_ms, with_count)
        times_ms = found["count"].timestamps_ms
        mine = [name for name in fields if name in rollup.aggregates]
        if not len(times_ms) or not mine:
            continue
        absent = np.full(len(times_ms), np.nan)
        by_field = [found[name].values if name in mine else absent for name in fields]
        points[mapped(key)] = Column(times_ms, np.stack(by_field, axis=1))
        counts[mapped(key)] = found["count"]
    return Rolled(points, counts)


def with_fields(
    points: Points, names: Sequence[str], wanted: Sequence[str]
) -> dict[SeriesKey, Column]:
    """Of points with the fields ``names`` those that are ``wanted``, where a point has any."""
    at = [names.index(name) for name in wanted]
    found = {}
    for key, column in points.items():
        values = column.values[:, at]
        has = ~np.isnan(values).all(axis=1)
        if has.any():
            found[key] = Column(column.timestamps_ms[has], values[has])
    return found


def mapped(key: SeriesKey) -> SeriesKey:
    """The series of a rollup, given that of the samples: no tag is named as an aggregate."""
    return SeriesKey.of(
        key.measurement,
        {tag_of(tag): value for tag, value in key.tags},
        key.field,
    )


def unmapped(key: SeriesKey) -> SeriesKey:
    """The reverse."""
    return SeriesKey.of(
        key.measurement,
        {tag.removeprefix(_PREFIX) if _is_reserved(tag) else tag: value for tag, value in key.tags},
        key.field,
    )


def tag_of(tag: str) -> str:
    """The tag of a rollup, given that of the samples."""
    return _PREFIX + tag if _is_reserved(tag) else tag


def _is_reserved(tag: str) -> bool:
    while tag.startswith(_PREFIX):
        tag = tag.removeprefix(_PREFIX)
    return tag in AGGREGATES


def rolled_up(samples: Column, start_ms: int, end_ms: int, rollup: Rollup) -> dict[str, Column]:
    """The points in ``(start_ms, end_ms]`` of one series, a column for each aggregate.

    ``samples`` are those of ``(start_ms - rollup.lead_in_ms, end_ms]``, in order of time, all of
    them numbers. A point of which an aggregate is too large for a float64 is left out.
    """
    rows: list[tuple[int, list[float]]] = []
    for bucket_ms, values, before in _buckets(samples, rollup.resolution_ms):
        if start_ms < bucket_ms <= end_ms:
            starts_with = None
            if before is not None and before[0] > bucket_ms - rollup.resolution_ms - LEAD_IN_MS:
                starts_with = before[1]
            found = [_aggregate(name, values, starts_with) for name in rollup.aggregates]
            if all(map(math.isfinite, found)):
                rows.append((bucket_ms, [value + 0.0 for value in found]))
    times = np.array([bucket_ms for bucket_ms, _ in rows], np.int64)
    return {
        name: Column(times, np.array([found[index] for _, found in rows], np.float64))
        for index, name in enumerate(rollup.aggregates)
    }


def _buckets(
    samples: Column, resolution_ms: int
) -> Iterator[tuple[int, list[float], tuple[int, float] | None]]:
    """Of each bucket its end, the values of its samples, and the sample before them."""
    bucket_ms, values = 0, list[float]()
    last: tuple[int, float] | None = None
    before: tuple[int, float] | None = None
    for time_ms, value in zip(samples.timestamps_ms.tolist(), samples.values.tolist(), strict=True):
        of_ms = math.ceil(time_ms / resolution_ms) * resolution_ms
        if values and of_ms != bucket_ms:
            yield bucket_ms, values, before
            before, values = last, []
        bucket_ms, last = of_ms, (time_ms, value)
        values.append(value)
    if values:
        yield bucket_ms, values, before


def _aggregate(name: str, values: Sequence[float], before: float | None) -> float:
    match name:
        case "avg":
            return _sum(values) / len(values)
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "sum":
            return _sum(values)
        case "count":
            return float(len(values))
        case "first":
            return values[0]
        case "last":
            return values[-1]
        case "stddev":
            average = _sum(values) / len(values)
            distances = [value - average for value in values]
            return math.sqrt(_sum([each * each for each in distances]) / len(values))
        case "increase":
            return _increase(values, before)
    raise ValueError(f"{name} is no aggregate")


def _sum(values: Sequence[float]) -> float:
    # Not sum(), which compensates from Python 3.12 on.
    total = 0.0
    for value in values:
        total += value
    return total


def _increase(values: Sequence[float], before: float | None) -> float:
    total, last = 0.0, before
    for value in values:
        if last is not None:
            total += value if value < last else value - last
        last = value
    return total
