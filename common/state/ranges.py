"""Arithmetic of time: ranges ``(start_ms, end_ms]`` in order that do not touch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from common.state.feeds import Range


def merged(ranges: Iterable[Range]) -> list[Range]:
    """What is in any of them; they may come in any order, and overlap."""
    found: list[Range] = []
    for start_ms, end_ms in sorted(ranges):
        if found and start_ms <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end_ms))
        elif start_ms < end_ms:
            found.append((start_ms, end_ms))
    return found


def clipped(ranges: Iterable[Range], start_ms: int, end_ms: int) -> list[Range]:
    """What of them lies in ``(start_ms, end_ms]``."""
    return merged((max(start, start_ms), min(end, end_ms)) for start, end in ranges)


def without(ranges: Iterable[Range], taken: Iterable[Range]) -> list[Range]:
    """What is in ``ranges`` and not in ``taken``."""
    return list(_without(merged(ranges), merged(taken)))


def within(ranges: Iterable[Range], bounds: Iterable[Range]) -> list[Range]:
    """What is in ``ranges`` and in ``bounds``."""
    ranges = merged(ranges)
    return without(ranges, without(ranges, bounds))


def overlaps(ranges: Sequence[Range], start_ms: int, end_ms: int) -> bool:
    """Whether any of ``(start_ms, end_ms]`` is in ``ranges``."""
    first = bisect_right(ranges, start_ms, key=lambda one: one[1])
    return start_ms < end_ms and first < len(ranges) and ranges[first][0] < end_ms


def length_ms(ranges: Iterable[Range]) -> int:
    """How much time they are."""
    return sum(end_ms - start_ms for start_ms, end_ms in ranges)


def cut(ranges: Iterable[Range], longest_ms: int) -> Iterator[Range]:
    """Windows of what is not live, oldest first: at multiples of ``longest_ms``, as leases cut."""
    for start_ms, end_ms in ranges:
        while start_ms < end_ms:
            bound_ms = (start_ms // longest_ms + 1) * longest_ms
            yield start_ms, min(bound_ms, end_ms)
            start_ms = bound_ms


def _without(ranges: Sequence[Range], taken: Sequence[Range]) -> Iterator[Range]:
    first = 0
    for start_ms, end_ms in ranges:
        while first < len(taken) and taken[first][1] <= start_ms:
            first += 1
        for taken_start_ms, taken_end_ms in taken[first:]:
            if taken_start_ms >= end_ms:
                break
            if start_ms < taken_start_ms:
                yield start_ms, taken_start_ms
            start_ms = taken_end_ms
        if start_ms < end_ms:
            yield start_ms, end_ms
