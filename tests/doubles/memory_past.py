"""What lies behind a feed, in memory: reopened ranges, rechecks, its end, the sink's watermark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from common.state.windows import MOST_RECOUNTS, Feed, Range, Recheck
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
        recounted: bool = False,
        lease: tuple[str, str] | None = None,
    ) -> int | None:
        assert lease is None, "leases are not kept here"
        state = self._shared.feeds.get(feed.name)
        if state is None or state.fingerprint != feed.fingerprint:
            return None
        rechecks = self._shared.rechecks.get(feed.name, {})
        if done and not any(recheck.member in rechecks for recheck in done):
            return None
        if extend:
            state.origin_ms = min(state.origin_ms, start_ms)
        start_ms, end_ms = max(start_ms, state.origin_ms), min(end_ms, state.head_ms)
        taken = ranges_in([*state.ranges, *state.deferred.ranges])
        taken += [window.bounds for window in state.windows.values()]
        missing = missing_in((start_ms, end_ms), taken)
        round_ = max((recheck.round + 1 for recheck in done), default=MOST_RECOUNTS * recounted)
        state.ranges = merged_pieces([*state.ranges, *((*range_, round_) for range_ in missing)])
        for recheck in done:
            rechecks.pop(recheck.member, None)
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
        return sorted(Recheck.parse(member) for _, member in due[:limit])

    def pass_rechecks(
        self,
        feed: Feed,
        done: Sequence[Recheck],
        after_seconds: Sequence[float],
        longest_seconds: float,
    ) -> None:
        known = self._shared.rechecks.get(feed.name, {})
        for one in done:
            due_ms = known.pop(one.member, None)
            if due_ms is None or one.round + 1 >= len(after_seconds):
                continue
            due_ms += int((after_seconds[one.round + 1] - after_seconds[one.round]) * 1000)
            later = replace(one, round=one.round + 1, failures=0)
            tails = self._shared.feeds[feed.name].tails
            tail = Recheck.parse(tails[later.round]) if tails.get(later.round) in known else None
            if (
                tail is not None
                and tail.end_ms == later.start_ms
                and later.end_ms - tail.start_ms <= longest_seconds * 1000
                and (tail.since, tail.failures) == (later.since, 0)
            ):
                due_ms = max(due_ms, known.pop(tail.member))
                sums = zip(tail.digest, later.digest, strict=True)
                low, high = ((mine + other) % 2**32 for mine, other in sums)
                later = replace(
                    later,
                    start_ms=tail.start_ms,
                    samples=tail.samples + later.samples,
                    digest=(low, high),
                )
            known[later.member] = due_ms
            tails[later.round] = later.member

    def postpone_rechecks(
        self, feed: Feed, rechecks: Sequence[Recheck], after_seconds: float, failures: int = 1
    ) -> None:
        known = self._shared.rechecks.get(feed.name, {})
        for one in rechecks:
            if known.pop(one.member, None) is not None:
                again = replace(one, failures=one.failures + failures)
                known[again.member] = self._now + int(after_seconds * 1000)

    def forget_rechecks(self, feed: Feed, done: Sequence[Recheck]) -> None:
        for recheck in done:
            self._shared.rechecks.get(feed.name, {}).pop(recheck.member, None)

    def sink_watermarks(self) -> dict[str, int | None]:
        return dict(self._shared.sink_watermarks)

    def set_sink_watermark(self, feed_name: str, watermark_ms: int | None) -> None:
        self._shared.sink_watermarks.setdefault(feed_name, watermark_ms)

    def set_reconciled(self, feed: Feed, start_ms: int | None = None) -> int | None:
        state = self._shared.feeds.get(feed.name)
        if state is None or state.fingerprint != feed.fingerprint or state.reconciled:
            return None
        state.reconciled = True
        first_ms = state.origin_ms if start_ms is None else min(start_ms, state.origin_ms)
        return self.reopen(feed, first_ms, state.origin_ms, extend=True)
