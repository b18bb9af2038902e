"""The window set in memory: the twin of :class:`common.state.windows.WindowSet`.

It obeys the same contract suite (``tests/integration/state/test_windows.py``) and is where the
state machine of windows and stages runs. What it commits goes to a
:class:`tests.doubles.memory_stream.MemoryBroker`.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from common.state.keys import POINTS, RAW, split_feed
from common.state.windows import (
    MOST_GROWTH,
    Feed,
    FeedStatus,
    Gap,
    Recheck,
    Staged,
    Window,
    WindowClass,
)
from tests.doubles.memory_stream import MemoryBroker, StagedPayload
from tests.doubles.size_classes import allocated_bytes

Range = tuple[int, int]


@dataclass
class _Open:
    start_ms: int
    end_ms: int
    window_class: str
    token: str = ""
    deadline_ms: int = 0
    not_before_ms: int = 0
    attempts: int = 0

    @property
    def bounds(self) -> Range:
        return self.start_ms, self.end_ms


@dataclass
class _FeedState:
    fingerprint: str
    origin_ms: int
    head_ms: int
    planned_ms: int = 0
    ranges: list[Range] = field(default_factory=list)
    windows: dict[str, _Open] = field(default_factory=dict)
    attempts: int = 0
    not_before_ms: int = 0
    reconciled: bool = False


class MemoryFeeds:
    """All feeds of one pipeline: what their workers' window sets share."""

    def __init__(self) -> None:
        self.feeds: dict[str, _FeedState] = {}
        self.gaps: dict[str, list[Gap]] = {}
        self.rechecks: dict[str, dict[str, int]] = {}
        self.sink_watermarks: dict[str, int | None] = {}
        self.tokens = 0


class MemoryWindowSet:
    """One worker's view of the feeds; the methods are :class:`common.state.windows.WindowSet`'s."""

    def __init__(
        self,
        broker: MemoryBroker,
        feeds: MemoryFeeds,
        *,
        lease_seconds: float = 60.0,
        max_open: int = 16,
        key_token: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._broker = broker
        self._shared = feeds
        self._lease_ms = int(lease_seconds * 1000)
        self._max_open = max_open
        self._key_token = key_token

    # -- planning and leasing -----------------------------------------------------------------

    def plan(self, feed: Feed, origin_ms: int, head_ms: int, *, adopt: bool = False) -> bool:
        """See :meth:`common.state.windows.WindowSet.plan`."""
        state = self._shared.feeds.get(feed.name)
        if state is None:
            state = _FeedState(feed.fingerprint, origin_ms, origin_ms)
            self._shared.feeds[feed.name] = state
        if state.fingerprint != feed.fingerprint:
            if not adopt:
                return False
            if state.windows:
                state.ranges += [window.bounds for window in state.windows.values()]
                state.windows.clear()
                state.attempts = state.not_before_ms = 0
            state.fingerprint = feed.fingerprint
        if head_ms > state.head_ms:
            state.ranges.append((state.head_ms, head_ms))
            state.head_ms = head_ms
        state.ranges = _merged(state.ranges)
        state.planned_ms = self._now
        return True

    def lease(
        self, feed: Feed, window_class: WindowClass, live_horizon_ms: int, longest_ms: int
    ) -> Window | None:
        """See :meth:`common.state.windows.WindowSet.lease`."""
        state = self._shared.feeds.get(feed.name)
        if state is None or state.fingerprint != feed.fingerprint:
            return None
        if state.not_before_ms > self._now:
            return None
        id_ = self._free(state, window_class)
        cut = None
        if id_ is None:
            if len(state.windows) >= self._max_open:
                return None
            cut = _cut(state, window_class, state.head_ms - live_horizon_ms, longest_ms)
            if cut is None:
                return None
        self._shared.tokens += 1
        token = f"{self._shared.tokens}-{self._key_token()}"
        if cut is not None:
            id_ = f"w{token}"
            state.windows[id_] = _Open(*cut, window_class)
        assert id_ is not None
        window = state.windows[id_]
        window.token, window.deadline_ms = token, self._now + self._lease_ms
        return Window(
            id_, window.start_ms, window.end_ms, token, window.attempts, window.window_class
        )

    def _free(self, state: _FeedState, window_class: str) -> str | None:
        """The newest open window of the class that nobody holds and that need not wait."""
        free = [
            (window.end_ms, id_)
            for id_, window in state.windows.items()
            if window.window_class == window_class
            and (not window.token or window.deadline_ms <= self._now)
            and window.not_before_ms <= self._now
        ]
        return max(free)[1] if free else None

    # -- what a worker does with a window it holds -----------------------------------------------

    def renew(self, feed: Feed, window: Window) -> bool:
        """See :meth:`common.state.windows.WindowSet.renew`."""
        found = self._held(feed, window)
        if found is None:
            return False
        found.deadline_ms = self._now + self._lease_ms
        return True

    def split(self, feed: Feed, window: Window, middle_ms: int) -> bool:
        """See :meth:`common.state.windows.WindowSet.split`."""
        found = self._held(feed, window)
        if found is None or not found.start_ms < middle_ms < found.end_ms:
            return False
        state = self._shared.feeds[feed.name]
        del state.windows[window.id]
        halves = (found.start_ms, middle_ms), (middle_ms, found.end_ms)
        for half, (start_ms, end_ms) in enumerate(halves, start=1):
            state.windows[f"{window.id}.{half}"] = _Open(start_ms, end_ms, found.window_class)
        return True

    def retry(self, feed: Feed, window: Window, after_seconds: float) -> bool:
        """See :meth:`common.state.windows.WindowSet.retry`."""
        found = self._held(feed, window)
        if found is None:
            return False
        found.token, found.deadline_ms = "", 0
        found.attempts += 1
        found.not_before_ms = self._now + int(after_seconds * 1000)
        return True

    def fail(
        self, feed: Feed, window: Window, shortest_seconds: float, longest_seconds: float
    ) -> bool:
        """See :meth:`common.state.windows.WindowSet.fail`."""
        found = self._held(feed, window)
        if found is None:
            return False
        state = self._shared.feeds[feed.name]
        shortest_ms, longest_ms = int(shortest_seconds * 1000), int(longest_seconds * 1000)
        wait_ms = min(longest_ms, shortest_ms * 2 ** min(state.attempts, 30))
        del state.windows[window.id]
        state.ranges = _merged([*state.ranges, found.bounds])
        state.not_before_ms = self._now + wait_ms
        state.attempts += 1
        return True

    def declare_gap(self, feed: Feed, window: Window, until_ms: int, reason: str) -> bool:
        """See :meth:`common.state.windows.WindowSet.declare_gap`."""
        found = self._held(feed, window)
        if found is None:
            return False
        upto_ms = min(until_ms, found.end_ms)
        if upto_ms <= found.start_ms:
            return False
        self._declare(feed.name, found.start_ms, upto_ms, reason)
        if upto_ms < found.end_ms:
            found.start_ms = upto_ms
        else:
            del self._shared.feeds[feed.name].windows[window.id]
        return True

    def commit(
        self,
        feed: Feed,
        window: Window,
        staged: Sequence[Staged],
        *,
        recheck_after_seconds: float = 0.0,
        source_samples: int = 0,
    ) -> str:
        """See :meth:`common.state.windows.WindowSet.commit`."""
        broker = self._broker
        broker.drop_expired()
        found = self._held(feed, window)
        if found is None:
            return "refused"
        if any(item.key not in broker.payloads for item in staged):
            return "unstaged"
        for item in staged:
            broker.enqueue(RAW, feed.query, feed.tier, feed.kind, window.id, item.key, item.samples)
            broker.staged.pop(item.key, None)
        if staged:
            broker.unsettled[window.id] = len(staged)
            broker.committed[window.id] = (feed.name, *found.bounds)
            broker.book(f"{feed.name}|extracted", sum(item.samples for item in staged))
        state = self._shared.feeds[feed.name]
        del state.windows[window.id]
        if recheck_after_seconds > 0:
            recheck = Recheck(*found.bounds, source_samples)
            due_ms = self._now + int(recheck_after_seconds * 1000)
            self._shared.rechecks.setdefault(feed.name, {})[recheck.member] = due_ms
        state.attempts = state.not_before_ms = 0
        return "committed"

    def stage(self, payload: bytes, samples: int, keep_seconds: float) -> Staged:
        """See :meth:`common.state.windows.WindowSet.stage`."""
        key = f"payload:{self._key_token()}"
        self._broker.drop_expired()
        self._broker.payloads[key] = payload
        expires_ms = self._now + int(keep_seconds * 1000)
        self._broker.staged[key] = StagedPayload(len(payload), expires_ms)
        return Staged(key, samples, len(payload))

    def discard(self, staged: Sequence[Staged]) -> int:
        """See :meth:`common.state.windows.WindowSet.discard`."""
        mine = [item.key for item in staged if item.key in self._broker.staged]
        for key in mine:
            self._broker.staged.pop(key, None)
            self._broker.payloads.pop(key, None)
        return len(mine)

    # -- a feed's past and end -------------------------------------------------------------------

    def reopen(
        self,
        feed: Feed,
        start_ms: int,
        end_ms: int,
        *,
        extend: bool = False,
        done: Sequence[Recheck] = (),
    ) -> int | None:
        """See :meth:`common.state.windows.WindowSet.reopen`."""
        state = self._shared.feeds.get(feed.name)
        if state is None or state.fingerprint != feed.fingerprint:
            return None
        if extend:
            state.origin_ms = min(state.origin_ms, start_ms)
        start_ms, end_ms = max(start_ms, state.origin_ms), min(end_ms, state.head_ms)
        taken = [*state.ranges, *(window.bounds for window in state.windows.values())]
        missing = _without((start_ms, end_ms), taken)
        state.ranges = _merged([*state.ranges, *missing])
        for recheck in done:
            self._shared.rechecks.get(feed.name, {}).pop(recheck.member, None)
        return sum(last - first for first, last in missing)

    def close(
        self, feed_name: str, unplanned_seconds: float, reason: str
    ) -> Sequence[Range] | None:
        """See :meth:`common.state.windows.WindowSet.close`."""
        state = self._shared.feeds.get(feed_name)
        planned_ms = state.planned_ms if state is not None else 0
        if self._now - planned_ms < int(unplanned_seconds * 1000):
            return None
        owed: list[Range] = []
        if state is not None:
            owed = sorted([*state.ranges, *(window.bounds for window in state.windows.values())])
        for start_ms, end_ms in owed:
            self._declare(feed_name, start_ms, end_ms, reason)
        self._shared.feeds.pop(feed_name, None)
        self._shared.rechecks.pop(feed_name, None)
        self._shared.sink_watermarks.pop(feed_name, None)
        return owed

    def due_rechecks(self, feed: Feed, limit: int) -> list[Recheck]:
        """See :meth:`common.state.windows.WindowSet.due_rechecks`."""
        known = self._shared.rechecks.get(feed.name, {})
        due = sorted((due_ms, member) for member, due_ms in known.items() if due_ms <= self._now)
        found = [Recheck(*map(int, member.split(" "))) for _, member in due[:limit]]
        return sorted(found, key=lambda recheck: recheck.start_ms)

    def forget_rechecks(self, feed: Feed, done: Sequence[Recheck]) -> None:
        """See :meth:`common.state.windows.WindowSet.forget_rechecks`."""
        for recheck in done:
            self._shared.rechecks.get(feed.name, {}).pop(recheck.member, None)

    def sink_watermarks(self) -> dict[str, int | None]:
        """See :meth:`common.state.windows.WindowSet.sink_watermarks`."""
        return dict(self._shared.sink_watermarks)

    def set_sink_watermark(self, feed_name: str, watermark_ms: int | None) -> None:
        """See :meth:`common.state.windows.WindowSet.set_sink_watermark`."""
        self._shared.sink_watermarks.setdefault(feed_name, watermark_ms)

    def set_reconciled(self, feed: Feed) -> None:
        """See :meth:`common.state.windows.WindowSet.set_reconciled`."""
        self._shared.feeds[feed.name].reconciled = True

    # -- what there is -----------------------------------------------------------------------------

    def pressure(self, high_water_bytes: int, low_water_bytes: int) -> tuple[bool, int]:
        """See :meth:`common.state.windows.WindowSet.pressure`."""
        broker = self._broker
        broker.drop_expired()
        raw_samples, raw_bytes = self._in_flight(RAW)
        point_samples, point_bytes = self._in_flight(POINTS)
        growth = 1.0
        if raw_bytes and point_samples:
            growth = point_bytes / point_samples * raw_samples / raw_bytes
            growth = max(1.0, min(MOST_GROWTH, growth))
        raw_bytes += sum(allocated_bytes(staged.bytes) for staged in broker.staged.values())
        total = point_bytes + math.ceil(raw_bytes * growth)
        if broker.paused:
            broker.paused = total > low_water_bytes
        else:
            broker.paused = total >= high_water_bytes
        return broker.paused, total

    def _in_flight(self, stream: str) -> tuple[int, int]:
        """Samples and bytes in flight in a stream."""
        booked = self._broker.state(stream).in_flight.values()
        return sum(each.samples for each in booked), sum(
            allocated_bytes(each.bytes) for each in booked
        )

    def status(self) -> dict[str, FeedStatus]:
        """See :meth:`common.state.windows.WindowSet.status`."""
        found = {}
        for name, state in sorted(self._shared.feeds.items()):
            query, tier = split_feed(name)
            found[name] = FeedStatus(
                query=query,
                tier=tier,
                fingerprint=state.fingerprint,
                origin_ms=state.origin_ms,
                head_ms=state.head_ms,
                backlog=list(state.ranges),
                open=sorted(window.bounds for window in state.windows.values()),
                unsettled=sorted(
                    (start_ms, end_ms)
                    for feed, start_ms, end_ms in self._broker.committed.values()
                    if feed == name
                ),
                attempts=state.attempts,
                planned_ms=state.planned_ms,
                gaps=len(self._shared.gaps.get(name, [])),
                reconciled=state.reconciled,
            )
        return found

    def gaps(self, feed: str) -> list[Gap]:
        """See :meth:`common.state.windows.WindowSet.gaps`."""
        return list(self._shared.gaps.get(feed, []))

    @property
    def _now(self) -> int:
        return self._broker.now_ms()

    def _held(self, feed: Feed, window: Window) -> _Open | None:
        """The open window that the caller's token and configuration are right for."""
        state = self._shared.feeds.get(feed.name)
        found = state.windows.get(window.id) if state is not None else None
        if state is None or found is None:
            return None
        if found.token != window.token or state.fingerprint != feed.fingerprint:
            return None
        return found

    def _declare(self, feed: str, start_ms: int, end_ms: int, reason: str) -> None:
        """Append a gap, or lengthen the last one where they touch."""
        gaps = self._shared.gaps.setdefault(feed, [])
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


def _cut(
    state: _FeedState, window_class: WindowClass, border_ms: int, longest_ms: int
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


def _merged(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in order, those that touch made one."""
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return merged


def _without(whole: Range, taken: Iterable[Range]) -> list[Range]:
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
