"""Which windows of other feeds one read serves: those of the same query in its other tiers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from common.state.windows import Window, WindowSet
from services.extractor.window_lengths import WindowLengths
from services.extractor.window_reader import Taken
from services.extractor.windows import Plan, ceil_to, floor_to

# Windows that are read beside one: an entry is held for each.
MOST_SIBLINGS = 8


def lease_siblings(
    windows: WindowSet,
    lengths: WindowLengths,
    plan: Plan,
    window: Window,
    others: Iterable[Plan],
    origin_ms: Callable[[str], int],
) -> list[Taken]:
    """Lease what ``others`` of the same query have within ``window`` in other tiers.

    What is live is read by itself, at once. Raises :class:`redis.exceptions.RedisError`.
    """
    taken: list[Taken] = []
    if window.window_class == "live":
        return taken
    for other in others:
        feed = other.feed
        if feed.query != plan.feed.query or feed.tier == plan.feed.tier:
            continue
        # Whole windows: pieces of them would be read again with what lies beside them.
        whole_ms = max(other.step_ms, other.head_step_ms)
        within = ceil_to(window.start_ms, whole_ms), floor_to(window.end_ms, whole_ms)
        while within[0] < within[1] and len(taken) < MOST_SIBLINGS:
            longest_ms = lengths.longest_ms(other, "catchup")
            leased = windows.lease(feed, "catchup", other.live_ms, longest_ms, within)
            if leased is None:
                break
            taken.append(Taken(other, leased, origin_ms(feed.state_name)))
    return taken
