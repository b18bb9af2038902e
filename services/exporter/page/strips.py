"""Coverage of a feed as a strip: what is true of each hundredth of the time that is shown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

from common.state.feeds import Range
from common.state.ranges import length_ms, merged, overlaps, without
from common.state.status.coverage import FeedCoverage

CELLS = 100

Strip = list[list[int | str]]


def strip(feed: FeedCoverage) -> Strip:
    """``[state, cells]`` from the left; of what is in a cell, the worst is shown."""
    shown: Sequence[tuple[str, Sequence[Range]]] = [
        ("differs", merged(one[:2] for one in feed.differing)),
        ("gap", merged((gap.start_ms, gap.end_ms) for gap in feed.gaps)),
        ("waits", feed.deferred),
        ("backlog", feed.backlog),
        ("open", feed.open),
        ("loaded", without(feed.loaded, feed.proven)),
        ("proven", feed.proven),
    ]
    bounds = [
        feed.start_ms + (feed.end_ms - feed.start_ms) * cell // CELLS for cell in range(CELLS + 1)
    ]
    states = [
        next((name for name, ranges in shown if overlaps(ranges, start, end)), "nothing")
        for start, end in pairwise(bounds)
    ]
    return [[name, len(list(cells))] for name, cells in groupby(states)]


def lengths_seconds(feed: FeedCoverage) -> dict[str, int]:
    """How much of the time is what."""
    parts = {
        "planned": feed.planned,
        "loaded": feed.loaded,
        "proven": feed.proven,
        "gap": [(gap.start_ms, gap.end_ms) for gap in feed.gaps],
    }
    return {name: length_ms(ranges) // 1000 for name, ranges in parts.items()}
