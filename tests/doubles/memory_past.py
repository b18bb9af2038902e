"""What lies behind a feed, in memory: reopened ranges, rechecks, its end, the sink's watermark."""

from __future__ import annotations

from collections.abc import Sequence

from common.state.windows import Feed, Range, Recheck
from tests.doubles.memory_broker import MemoryBroker
from tests.doubles.memory_feeds import MemoryFeeds, merged_pieces, missing_in, ranges_in


class MemoryPast:
    """The part of the twin of :class:`WindowSet` that no worker with a window uses."""

    def __init__(self, broker: MemoryBroker, feeds: MemoryFeeds) -> None:
        self._broker = broker
        self._shared = feeds

    @property
    def _now(self) -> int:
        return self._broker.now_ms()

    def reopen(
        self,
        feed: Feed,
        start_ms: int,
        end_ms: int,
        *,
        extend: bool = False,
        done: Sequence[Recheck] = (),
    ) -> int | None:
        state = self._shared.feeds.get(feed.name)
        if state is None or state.fingerprint != feed.fingerprint:
            return None
        if extend:
            state.origin_ms = min(state.origin_ms, start_ms)
        start_ms, end_ms = max(start_ms, state.origin_ms), min(end_ms, state.head_ms)
        taken = ranges_in([*state.ranges, *state.deferred.ranges])
        taken += [window.bounds for window in state.windows.values()]
        missing = missing_in((start_ms, end_ms), taken)
        state.ranges = merged_pieces([*state.ranges, *((*range_, 0) for range_ in missing)])
        for recheck in done:
            self._shared.rechecks.get(feed.name, {}).pop(recheck.member, None)
        return sum(last - first for first, last in missing)

    def close(
        self, feed_name: str, unplanned_seconds: float, reason: str
    ) -> Sequence[Range] | None:
        state = self._shared.feeds.get(feed_name)
        planned_ms = state.planned_ms if state is not None else 0
        if self._now - planned_ms < int(unplanned_seconds * 1000):
            return None
        backlog: list[Range] = []
        if state is not None:
            pieces = [*state.ranges, *state.deferred.ranges]
            pieces += [window.piece for window in state.windows.values()]
            backlog = sorted((start_ms, end_ms) for start_ms, end_ms, _ in pieces)
        for start_ms, end_ms in backlog:
            self._shared.add_gap(feed_name, start_ms, end_ms, reason)
        self._shared.feeds.pop(feed_name, None)
        self._shared.rechecks.pop(feed_name, None)
        self._shared.sink_watermarks.pop(feed_name, None)
        return backlog

    def due_rechecks(self, feed: Feed, limit: int) -> list[Recheck]:
        known = self._shared.rechecks.get(feed.name, {})
        due = sorted((due_ms, member) for member, due_ms in known.items() if due_ms <= self._now)
        found = [Recheck(*map(int, member.split(" "))) for _, member in due[:limit]]
        return sorted(found)

    def forget_rechecks(self, feed: Feed, done: Sequence[Recheck]) -> None:
        for recheck in done:
            self._shared.rechecks.get(feed.name, {}).pop(recheck.member, None)

    def sink_watermarks(self) -> dict[str, int | None]:
        return dict(self._shared.sink_watermarks)

    def set_sink_watermark(self, feed_name: str, watermark_ms: int | None) -> None:
        self._shared.sink_watermarks.setdefault(feed_name, watermark_ms)

    def set_reconciled(self, feed: Feed) -> None:
        self._shared.feeds[feed.name].reconciled = True
