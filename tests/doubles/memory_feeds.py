"""Feeds in memory: what all workers' window sets share, and the arithmetic of ranges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from common.state.windows import Gap, Range, WindowClass


@dataclass
class OpenWindow:
    start_ms: int
    end_ms: int
    window_class: WindowClass
    token: str = ""
    deadline_ms: int = 0
    not_before_ms: int = 0
    attempts: int = 0

    @property
    def bounds(self) -> Range:
        return self.start_ms, self.end_ms


@dataclass
class FeedState:
    fingerprint: str
    origin_ms: int
    head_ms: int
    planned_ms: int = 0
    ranges: list[Range] = field(default_factory=list)
    windows: dict[str, OpenWindow] = field(default_factory=dict)
    attempts: int = 0
    not_before_ms: int = 0
    reconciled: bool = False


class MemoryFeeds:
    """All feeds of one pipeline: what their workers' window sets share."""

    def __init__(self) -> None:
        self.feeds: dict[str, FeedState] = {}
        self.gaps: dict[str, list[Gap]] = {}
        self.rechecks: dict[str, dict[str, int]] = {}
        self.sink_watermarks: dict[str, int | None] = {}
        self.tokens = 0

    def add_gap(self, feed: str, start_ms: int, end_ms: int, reason: str) -> None:
        """Append a gap, or lengthen the last one where they touch."""
        gaps = self.gaps.setdefault(feed, [])
        last = gaps[-1] if gaps else None
        if (
            last is not None
            and last.reason == reason
            and start_ms <= last.end_ms
            and last.start_ms <= end_ms
        ):
            gaps[-1] = Gap(min(last.start_ms, start_ms), max(last.end_ms, end_ms), reason)
        else:
            gaps.append(Gap(start_ms, end_ms, reason))


def cut_newest(
    state: FeedState, window_class: WindowClass, border_ms: int, longest_ms: int
) -> Range | None:
    """Take the newest piece of a class out of the backlog: live lies after the border."""
    for index in range(len(state.ranges) - 1, -1, -1):
        first, last = state.ranges[index]
        lower, upper = first, last
        if window_class == "live":
            lower = max(first, border_ms)
        else:
            upper = min(last, border_ms)
        if lower < upper:
            cut = max(lower, upper - longest_ms)
            rest = [piece for piece in ((first, cut), (upper, last)) if piece[0] < piece[1]]
            state.ranges[index : index + 1] = rest
            return cut, upper
    return None


def merged_ranges(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in order, those that touch made one."""
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return merged


def missing_in(whole: Range, taken: Iterable[Range]) -> list[Range]:
    """What of a range is in none of the others."""
    cursor, end = whole
    missing = []
    for first, last in sorted(taken):
        if cursor < min(first, end):
            missing.append((cursor, min(first, end)))
        cursor = max(cursor, last)
    if cursor < end:
        missing.append((cursor, end))
    return missing
