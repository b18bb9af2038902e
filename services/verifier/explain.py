"""Why a difference is no loss: what is known of the pipeline and of a source that changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.verifier.compare import Difference
from services.verifier.examples import Example, Value
from services.verifier.points import NOTHING, Column, Points, SeriesKey, equal

COLLISION = "collision"
CHANGED = "source_changed"
DEAD_LETTERED = "dead_lettered"
EXPIRED = "source_expired"
GONE = "replica_gone"
UNREADABLE = "dead_lettered_unreadable"
RECHECK_DUE = "recheck_due"
PURGED = "purged"
EARLIER = "earlier_configuration"
# Ranges that are on their way, and all reasons of missing points that may still come.
ON_THE_WAY = frozenset(("in_flight", "not_extracted"))
NOT_LOADED_YET = ON_THE_WAY | {RECHECK_DUE}


class Range(NamedTuple):
    """The half-open range ``(start_ms, end_ms]``."""

    start_ms: int
    end_ms: int


EVERYWHERE = Range(0, 2**62)


class Allowance(NamedTuple):
    """At most so many ``points`` may be missing in the range for the reason; which is unknown."""

    reason: str
    range: Range
    points: int


# How many points allowances have explained so far, by reason and range.
Spent = Counter[tuple[str, Range]]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the pipeline knows about one query.

    ``ranges``: reason → where points may be missing for it (``gap``, ``in_flight``, …).
    ``overwritten``: reason → where they may also differ, as they are to be written again.
    ``dead``: timestamps of the points that lie in the dead letters. ``unreadable_dead_samples``:
    how many samples lie in dead letters whose payload nobody can read: their points are unknown.
    ``allowances``: what explains a number of missing points only. ``instead``: what may have been
    expected in place of this, under a configuration that may have been in force; ``ever``: under
    any that was, and what was written under it stays. ``replica_gone``: whether it was read from a
    replica that there is not any more: another has other samples.
    """

    ranges: Mapping[str, Sequence[Range]] = field(default_factory=dict)
    dead: Mapping[SeriesKey, NDArray[np.int64]] = field(default_factory=dict)
    unreadable_dead_samples: int = 0
    overwritten: Mapping[str, Sequence[Range]] = field(default_factory=dict)
    allowances: Sequence[Allowance] = ()
    instead: Sequence[Points] = ()
    ever: Sequence[Points] = ()
    replica_gone: bool = False


@dataclass(slots=True)
class Explained:
    """Points explained, by kind of difference and reason; and the others, by series and kind.

    ``unloaded_ms``: the times of the others that are missing or different.
    """

    missing: Counter[str] = field(default_factory=Counter)
    extra: Counter[str] = field(default_factory=Counter)
    different: Counter[str] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)
    unloaded_ms: list[NDArray[np.int64]] = field(default_factory=list)


def explain(
    differences: Sequence[Difference],
    facts: Facts,
    second_read: Points,
    rivals: Points,
    whole_from_ms: int,
    spent: Spent,
    whole: Mapping[SeriesKey, NDArray[np.int64]] | None = None,
) -> Explained:
    """Give each differing point at most one reason.

    ``rivals`` gave way to another series with the same identity; which of them comes last is up to
    the order of Prometheus' response, and may have been otherwise when the window was extracted.

    ``second_read`` is what the source, read once more, makes expected: where it departs from the
    first read, the source is changing. A point that both give, with two values, must be there.
    Before ``whole_from_ms`` it may no longer keep what points were made from: that is a reason only
    for a point of a time at which it now gives none. What it still gives must be in the sink with
    that value, however much has been deleted around it. Of a rollup a point that it gives may lack
    deleted samples: it gives those at the times in ``whole``.

    ``spent`` is added to: what allowances explained here, they cannot explain elsewhere.
    """
    result = Explained()

    def example(
        kind: str,
        series: SeriesKey,
        times: NDArray[np.int64],
        rest: NDArray[np.bool_],
        expected: NDArray[np.float64] | None = None,
        found: NDArray[np.float64] | None = None,
    ) -> None:
        at = np.flatnonzero(rest)
        if not len(at):
            return
        if kind != "extra":
            result.unloaded_ms.append(times[at])
        first, last = at[0], at[-1]
        want, have = (None if side is None else _value(side[first]) for side in (expected, found))
        result.examples.append(
            Example(kind, series, int(times[first]), want, have, len(at), int(times[last]))
        )

    unreadable = Allowance(UNREADABLE, EVERYWHERE, facts.unreadable_dead_samples)
    for item in differences:
        again = second_read.get(item.series, NOTHING)

        given = again.timestamps_ms
        if whole is not None:
            given = whole.get(item.series, NOTHING.timestamps_ms)

        def expired(
            times: NDArray[np.int64], given: NDArray[np.int64] = given
        ) -> NDArray[np.bool_]:
            return (times < whole_from_ms) & ~np.isin(times, given)

        times, values = item.missing
        dead = facts.dead.get(item.series, NOTHING.timestamps_ms)
        reasons = {DEAD_LETTERED: np.isin(times, dead)}
        for reason, ranges in facts.ranges.items():
            reasons[reason] = _inside(times, ranges)
        reasons[GONE] = np.full(len(times), facts.replica_gone)
        reasons[EXPIRED] = expired(times)
        reasons[CHANGED] = ~np.isin(times, again.timestamps_ms)
        reasons[EARLIER] = ~_in_all(facts.instead, item.series, times, values)
        rest = _count(result.missing, reasons, len(times))
        for allowance in (*facts.allowances, unreadable):
            _spend(result.missing, allowance, times, rest, spent)
        example("missing", item.series, times, rest, expected=values)

        times, values = item.different
        reasons = {
            COLLISION: _among(rivals.get(item.series, NOTHING), times, values),
            GONE: np.full(len(times), facts.replica_gone),
            EXPIRED: expired(times),
            CHANGED: ~_holds(again, times, item.wanted_values),
            EARLIER: _in_any(facts.ever, item.series, times, values),
            **{reason: _inside(times, where) for reason, where in facts.overwritten.items()},
        }
        rest = _count(result.different, reasons, len(times))
        example("different", item.series, times, rest, expected=item.wanted_values, found=values)

        times, values = item.extra
        reasons = {
            GONE: np.full(len(times), facts.replica_gone),
            EXPIRED: expired(times),
            CHANGED: _holds(again, times, values),
            EARLIER: _in_any(facts.ever, item.series, times, values),
        }
        rest = _count(result.extra, reasons, len(times))
        example("extra", item.series, times, rest, found=values)
    return result


def _value(point: Any) -> Value:
    return float(point) if np.ndim(point) == 0 else tuple(map(float, point))


def _count(
    counter: Counter[str], reasons: Mapping[str, NDArray[np.bool_]], length: int
) -> NDArray[np.bool_]:
    """Count each point under the first reason that fits; the mask of those that none fits."""
    rest = np.ones(length, dtype=np.bool_)
    for reason, mask in reasons.items():
        hits = int(np.count_nonzero(mask & rest))
        if hits:
            counter[reason] += hits
        rest &= ~mask
    return rest


def _spend(
    counter: Counter[str],
    allowance: Allowance,
    times: NDArray[np.int64],
    rest: NDArray[np.bool_],
    spent: Spent,
) -> None:
    """Count points of ``rest`` under an allowance, as far as it goes; they leave ``rest``."""
    reason, where, points = allowance
    left = max(points - spent[reason, where], 0)
    hits = np.flatnonzero(rest & _inside(times, [where]))[:left]
    if len(hits):
        counter[reason] += len(hits)
        spent[reason, where] += len(hits)
        rest[hits] = False


def _inside(times: NDArray[np.int64], ranges: Sequence[Range]) -> NDArray[np.bool_]:
    mask = np.zeros(len(times), dtype=np.bool_)
    for start_ms, end_ms in ranges:
        mask |= (times > start_ms) & (times <= end_ms)
    return mask


def _holds(
    column: Column, times: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Where ``column`` has the point (time and value bits)."""
    if not len(column.values) or not len(times):
        return np.zeros(len(times), dtype=np.bool_)
    at = np.searchsorted(column.timestamps_ms, times).clip(max=len(column.values) - 1)
    there = column.timestamps_ms[at] == times
    found: NDArray[np.bool_] = there & equal(column.values[at], values)
    return found


def _in_all(
    sides: Sequence[Points],
    series: SeriesKey,
    times: NDArray[np.int64],
    values: NDArray[np.float64],
) -> NDArray[np.bool_]:
    mask = np.ones(len(times), dtype=np.bool_)
    for points in sides:
        mask &= _holds(points.get(series, NOTHING), times, values)
    return mask


def _in_any(
    sides: Sequence[Points],
    series: SeriesKey,
    times: NDArray[np.int64],
    values: NDArray[np.float64],
) -> NDArray[np.bool_]:
    mask = np.zeros(len(times), dtype=np.bool_)
    for points in sides:
        mask |= _holds(points.get(series, NOTHING), times, values)
    return mask


def _among(
    rivals: Column, times: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Where one of ``rivals`` is the point; few points differ, so plain sets will do."""
    if not len(rivals.values):
        return np.zeros(len(times), dtype=np.bool_)
    known = set(_hashable(rivals.timestamps_ms, rivals.values))
    return np.array([point in known for point in _hashable(times, values)], dtype=np.bool_)


def _hashable(times: NDArray[np.int64], values: NDArray[np.float64]) -> Iterator[tuple[int, bytes]]:
    for time_ms, point in zip(times.tolist(), values, strict=True):
        yield time_ms, np.atleast_1d(point).tobytes()
