"""Feeds in memory: what all workers' window sets share, and the arithmetic of ranges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from common.state.windows import Gap, Range, WindowClass

# Start and end in ms, and how many recounts that time had.
Piece = tuple[int, int, int]


@dataclass
class OpenWindow:
    start_ms: int
    end_ms: int
    round: int
    window_class: WindowClass
    probe: bool = False
    token: str = ""
    deadline_ms: int = 0
    not_before_ms: int = 0
    attempts: int = 0

    @property
    def bounds(self) -> Range:
        return self.start_ms, self.end_ms

    @property
    def piece(self) -> Piece:
        return self.start_ms, self.end_ms, self.round


@dataclass
class Deferred:
    """What of a feed could not be extracted by itself, and when a piece of it is tried again."""

    ranges: list[Piece] = field(default_factory=list)
    attempts: int = 0
    not_before_ms: int = 0
    step_ms: int = 0
    cursor_ms: float = float("inf")

    def cut(self) -> Piece | None:
        """One piece after the other, the newest first, and then from the newest again."""
        for border_ms in (self.cursor_ms, float("inf")):
            for index in range(len(self.ranges) - 1, -1, -1):
                first, last, round_ = self.ranges[index]
                if first >= border_ms:
                    continue
                upper = int(min(last, border_ms))
                lower = max(first, upper - self.step_ms)
                rest = [(first, lower, round_), (upper, last, round_)]
                self.ranges[index : index + 1] = [one for one in rest if one[0] < one[1]]
                self.cursor_ms = lower
                return lower, upper, round_
        return None


@dataclass
class FeedState:
    fingerprint: str
    origin_ms: int
    head_ms: int
    planned_ms: int = 0
    ranges: list[Piece] = field(default_factory=list)
    deferred: Deferred = field(default_factory=Deferred)
    windows: dict[str, OpenWindow] = field(default_factory=dict)
    attempts: int = 0
    not_before_ms: int = 0
    reconciled: bool = False
    lag_limit_ms: int = 0
    # The recheck that was scheduled last for each recount.
    tails: dict[int, str] = field(default_factory=dict)
    empty_since_ms: int = 0

    def release_deferred(self) -> None:
        """What was deferred is backlog again."""
        self.ranges = merged_pieces([*self.ranges, *self.deferred.ranges])
        self.deferred = Deferred()


class MemoryFeeds:
    """All feeds of one pipeline: what their workers' window sets share."""

    def __init__(self) -> None:
        self.feeds: dict[str, FeedState] = {}
        self.gaps: dict[str, list[Gap]] = {}
        self._whole: dict[tuple[str, Gap], Gap] = {}  # what is left of a gap → as it was declared
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

    def forget_gaps(self, feed: str, start_ms: int, end_ms: int) -> None:
        """What is extracted after all is no gap."""
        kept: list[Gap] = []
        for gap in self.gaps.get(feed, []):
            rest = missing_in((gap.start_ms, gap.end_ms), [(start_ms, end_ms)])
            left = [Gap(*range_, gap.reason) for range_ in rest]
            self._whole |= {(feed, one): self._whole.get((feed, gap), gap) for one in left}
            kept += left
        self.gaps[feed] = kept

    def count_gaps(self, feed: str) -> int:
        """How many were declared, of which something is left."""
        return len({self._whole.get((feed, gap), gap) for gap in self.gaps.get(feed, [])})


def newest_piece(
    state: FeedState,
    window_class: WindowClass,
    border_ms: int,
    longest_ms: int,
    within: Range | None = None,
) -> tuple[Piece, list[Piece]] | None:
    """The newest piece of a class, and the backlog without it: live lies after the border."""
    for index in range(len(state.ranges) - 1, -1, -1):
        first, last, round_ = state.ranges[index]
        lower, upper = first, last
        if window_class == "live":
            lower = max(first, border_ms)
        else:
            upper = min(last, border_ms)
        if within is not None:
            lower, upper = max(lower, within[0]), min(upper, within[1])
        if lower < upper:
            # What is not live is cut at multiples of the length.
            before = upper if window_class == "live" else -(-upper // longest_ms) * longest_ms
            cut = max(lower, before - longest_ms)
            rest = [(*two, round_) for two in ((first, cut), (upper, last)) if two[0] < two[1]]
            left = [*state.ranges[:index], *rest, *state.ranges[index + 1 :]]
            return (cut, upper, round_), left
    return None


def merged_pieces(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces in order, those of a round that touch made one."""
    merged: list[Piece] = []
    for first, last, round_ in sorted(pieces):
        if merged and first <= merged[-1][1] and merged[-1][2] == round_:
            merged[-1] = merged[-1][0], max(merged[-1][1], last), round_
        else:
            merged.append((first, last, round_))
    return merged


def ranges_in(pieces: Iterable[Piece]) -> list[Range]:
    """The ranges of pieces, whatever their round."""
    return [(first, last) for first, last, _ in merged_pieces((s, e, 0) for s, e, _ in pieces)]


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
