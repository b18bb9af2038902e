"""The window set in memory: the twin of :class:`common.state.windows.WindowSet`.

It obeys the same contract suite (``tests/integration/state``) and is where the state machine of
windows and stages runs. What it commits goes to a :class:`MemoryBroker`.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from common.state.keys import POINTS, RAW, split_feed
from common.state.windows import (
    MOST_GROWTH,
    Feed,
    FeedStatus,
    Gap,
    Range,
    Recheck,
    Staged,
    Window,
    WindowClass,
)
from tests.doubles.memory_broker import MemoryBroker, StagedPayload
from tests.doubles.memory_feeds import (
    FeedState,
    MemoryFeeds,
    OpenWindow,
    merged_pieces,
    newest_piece,
    ranges_in,
)
from tests.doubles.memory_past import MemoryPast
from tests.doubles.size_classes import allocated_bytes


class MemoryWindowSet(MemoryPast):
    """One worker's view of the feeds; :class:`WindowSet` explains the methods."""

    def __init__(
        self,
        broker: MemoryBroker,
        feeds: MemoryFeeds,
        *,
        lease_seconds: float = 60.0,
        max_open: int = 16,
        key_token: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        super().__init__(broker, feeds)
        self._lease_ms = int(lease_seconds * 1000)
        self._max_open = max_open
        self._key_token = key_token

    # -- planning and leasing -----------------------------------------------------------------

    def plan(
        self,
        feed: Feed,
        origin_ms: int,
        head_ms: int,
        *,
        adopt: bool = False,
        lag_limit_ms: int = 0,
        settle_ms: int = 0,
        settle_why: str = "",
    ) -> bool:
        state = self._shared.feeds.get(feed.name)
        if state is None:
            state = FeedState(feed.fingerprint, origin_ms, origin_ms, empty_since_ms=origin_ms)
            self._shared.feeds[feed.name] = state
        if state.fingerprint != feed.fingerprint:
            if not adopt:
                return False
            state.ranges += [window.piece for window in state.windows.values()]
            state.windows.clear()
            state.attempts = state.not_before_ms = 0
            state.release_deferred()
            state.tails.clear()
            self._shared.rechecks.pop(feed.name, None)
            state.fingerprint = feed.fingerprint
            state.empty_since_ms = state.head_ms
        if head_ms > state.head_ms:
            state.ranges.append((state.head_ms, head_ms, 0))
            state.head_ms = head_ms
        state.ranges = merged_pieces(state.ranges)
        state.planned_ms, state.lag_limit_ms = self._now, lag_limit_ms
        return True

    def lease(
        self,
        feed: Feed,
        window_class: WindowClass,
        live_horizon_ms: int,
        longest_ms: int,
        within: Range | None = None,
    ) -> Window | None:
        state = self._shared.feeds.get(feed.name)
        if state is None or state.fingerprint != feed.fingerprint:
            return None
        if state.not_before_ms > self._now:
            return None
        id_ = self._free(state, window_class, within)
        border_ms = state.head_ms - live_horizon_ms
        cut = self._cut(state, id_, window_class, border_ms, longest_ms, within)
        if cut is None and id_ is None:
            return None
        self._shared.tokens += 1
        token = f"{self._shared.tokens}-{self._key_token()}"
        if cut is not None:
            id_ = f"w{token}"
            state.windows[id_] = cut
        assert id_ is not None
        window = state.windows[id_]
        window.token, window.deadline_ms = token, self._now + self._lease_ms
        return Window(
            id_, window.start_ms, window.end_ms, token, window.attempts, window.window_class
        )

    def _cut(
        self,
        state: FeedState,
        free: str | None,
        window_class: WindowClass,
        border_ms: int,
        longest_ms: int,
        within: Range | None,
    ) -> OpenWindow | None:
        """A new window, if it comes before the one that is free."""
        of_class = [one for one in state.windows.values() if one.window_class == window_class]
        if len(of_class) >= self._max_open or (free is not None and window_class == "catchup"):
            return None
        deferred = state.deferred
        tried = window_class == "catchup" and within is None
        if tried and deferred.not_before_ms <= self._now:
            piece = deferred.cut()
            if piece is not None:
                deferred.not_before_ms = self._now + self._lease_ms
                return OpenWindow(*piece, window_class, probe=True)
        found = newest_piece(state, window_class, border_ms, longest_ms, within)
        if found is None or (free is not None and found[0][1] < state.windows[free].end_ms):
            return None
        piece, state.ranges = found
        return OpenWindow(*piece, window_class)

    def _free(self, state: FeedState, window_class: str, within: Range | None) -> str | None:
        """The newest open window of the class that nobody holds and that need not wait."""
        free = [
            (window.end_ms, id_)
            for id_, window in state.windows.items()
            if window.window_class == window_class
            and (not window.token or window.deadline_ms <= self._now)
            and window.not_before_ms <= self._now
            and (within is None or (within[0] <= window.start_ms and window.end_ms <= within[1]))
        ]
        return max(free)[1] if free else None

    # -- what a worker does with a window it holds -----------------------------------------------

    def renew(self, feed: Feed, window: Window) -> bool:
        found = self._leased(feed, window)
        if found is None:
            return False
        found.deadline_ms = self._now + self._lease_ms
        return True

    def release(self, feed: Feed, window: Window) -> bool:
        found = self._leased(feed, window)
        if found is None:
            return False
        found.token, found.deadline_ms = "", 0
        return True

    def split(
        self,
        feed: Feed,
        window: Window,
        middle_ms: int,
        hold_seconds: tuple[float, float] | None = None,
    ) -> bool:
        found = self._leased(feed, window)
        if found is None or not found.start_ms < middle_ms < found.end_ms:
            return False
        state = self._shared.feeds[feed.name]
        del state.windows[window.id]
        halves = (found.start_ms, middle_ms), (middle_ms, found.end_ms)
        for half, (start_ms, end_ms) in enumerate(halves, start=1):
            state.windows[f"{window.id}.{half}"] = OpenWindow(
                start_ms, end_ms, found.round, found.window_class
            )
        if hold_seconds is not None:
            self._hold(state, *hold_seconds)
        return True

    def defer(
        self, feed: Feed, window: Window, shortest_seconds: float, longest_seconds: float
    ) -> bool:
        found = self._leased(feed, window)
        if found is None:
            return False
        state = self._shared.feeds[feed.name]
        deferred = state.deferred
        del state.windows[window.id]
        deferred.ranges = merged_pieces([*deferred.ranges, found.piece])
        wait_ms = _wait_ms(shortest_seconds, longest_seconds, deferred.attempts)
        deferred.not_before_ms = self._now + wait_ms
        deferred.step_ms = found.end_ms - found.start_ms
        deferred.attempts += 1
        return True

    def retry(self, feed: Feed, window: Window, after_seconds: float) -> bool:
        found = self._leased(feed, window)
        if found is None:
            return False
        found.token, found.deadline_ms = "", 0
        found.attempts += 1
        found.not_before_ms = self._now + int(after_seconds * 1000)
        return True

    def fail(
        self, feed: Feed, window: Window, shortest_seconds: float, longest_seconds: float
    ) -> bool:
        found = self._leased(feed, window)
        if found is None:
            return False
        state = self._shared.feeds[feed.name]
        del state.windows[window.id]
        if found.probe and state.deferred.step_ms:
            state.deferred.ranges = merged_pieces([*state.deferred.ranges, found.piece])
        else:
            state.ranges = merged_pieces([*state.ranges, found.piece])
        self._hold(state, shortest_seconds, longest_seconds)
        return True

    def _hold(self, state: FeedState, shortest_seconds: float, longest_seconds: float) -> None:
        wait_ms = _wait_ms(shortest_seconds, longest_seconds, state.attempts)
        state.not_before_ms = self._now + wait_ms
        state.attempts += 1

    def declare_gap(self, feed: Feed, window: Window, until_ms: int, reason: str) -> bool:
        found = self._leased(feed, window)
        if found is None:
            return False
        upto_ms = min(until_ms, found.end_ms)
        if upto_ms <= found.start_ms:
            return False
        self._shared.add_gap(feed.name, found.start_ms, upto_ms, reason)
        if upto_ms < found.end_ms:
            found.start_ms = upto_ms
        else:
            state = self._shared.feeds[feed.name]
            del state.windows[window.id]
            if found.probe:
                state.release_deferred()
        return True

    def commit(
        self,
        feed: Feed,
        window: Window,
        staged: Sequence[Staged],
        *,
        recheck_after_seconds: Sequence[float] = (),
        source_samples: int = 0,
        digest: tuple[int, int] = (0, 0),
        dropped: Mapping[str, int] = MappingProxyType({}),
        matched: bool = True,
    ) -> str:
        broker = self._broker
        broker.drop_expired()
        found = self._leased(feed, window)
        if found is None:
            return "refused"
        if any(item.key not in broker.payloads for item in staged if not item.held):
            return "unstaged"
        broker.payloads |= {item.key: item.held for item in staged if item.held}
        bounds = {
            b"start_ms": str(found.start_ms).encode(),
            b"end_ms": str(found.end_ms).encode(),
        }
        origin = feed.query, feed.tier, feed.kind, window.id
        for item in staged:
            broker.enqueue(RAW, *origin, item.key, item.samples, bounds)
            broker.staged.pop(item.key, None)
        if staged:
            broker.unsettled[window.id] = len(staged)
            broker.committed[window.id] = (feed.name, *found.bounds)
        for reason, samples in dropped.items():
            broker.count(f"{feed.name}|dropped|{reason}", samples)
        extracted = sum(item.samples for item in staged) + sum(dropped.values())
        if extracted:
            broker.count(f"{feed.name}|extracted", extracted)
        state = self._shared.feeds[feed.name]
        if matched:
            state.empty_since_ms = max(state.empty_since_ms, found.bounds[1])
        del state.windows[window.id]
        self._shared.forget_gaps(feed.name, *found.bounds)
        broker.seals.committed(window.id, (feed.name, found.end_ms), len(staged))
        times, round_ = (0.0, *recheck_after_seconds), found.round
        if round_ + 1 < len(times):
            recheck = Recheck(*found.bounds, source_samples, digest, round_, round_)
            due_ms = self._now + int((times[round_ + 1] - times[round_]) * 1000)
            self._shared.rechecks.setdefault(feed.name, {})[recheck.member] = due_ms
        state.attempts = state.not_before_ms = 0
        if found.probe:
            state.release_deferred()
        return "committed"

    def stage(self, payload: bytes, samples: int, keep_seconds: float) -> Staged:
        key = f"payload:{self._key_token()}"
        self._broker.drop_expired()
        self._broker.payloads[key] = payload
        expires_ms = self._now + int(keep_seconds * 1000)
        self._broker.staged[key] = StagedPayload(len(payload), expires_ms)
        return Staged(key, samples, len(payload))

    def hold(self, payload: bytes, samples: int) -> Staged:
        return Staged(f"payload:{self._key_token()}", samples, len(payload), payload)

    def discard(self, staged: Sequence[Staged]) -> int:
        mine = [item.key for item in staged if item.key in self._broker.staged]
        for key in mine:
            self._broker.staged.pop(key, None)
            self._broker.payloads.pop(key, None)
        return len(mine)

    # -- what there is -----------------------------------------------------------------------------

    def pressure(self, high_water_bytes: int, low_water_bytes: int) -> tuple[bool, int]:
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
        records = self._broker.state(stream).in_flight.values()
        return sum(each.samples for each in records), sum(
            allocated_bytes(each.bytes) for each in records
        )

    def status(self) -> dict[str, FeedStatus]:
        found = {}
        for name, state in sorted(self._shared.feeds.items()):
            query, tier = split_feed(name)
            found[name] = FeedStatus(
                query=query,
                tier=tier,
                fingerprint=state.fingerprint,
                origin_ms=state.origin_ms,
                head_ms=state.head_ms,
                backlog=ranges_in([*state.ranges, *state.deferred.ranges]),
                deferred=ranges_in(state.deferred.ranges),
                open=sorted(window.bounds for window in state.windows.values()),
                unsettled=sorted(
                    (start_ms, end_ms)
                    for feed, start_ms, end_ms in self._broker.committed.values()
                    if feed == name
                ),
                attempts=max(state.attempts, state.deferred.attempts),
                planned_ms=state.planned_ms,
                gaps=self._shared.count_gaps(name),
                reconciled=state.reconciled,
                empty_since_ms=state.empty_since_ms,
                lag_limit_ms=state.lag_limit_ms,
            )
        return found

    def gaps(self, feed: str) -> list[Gap]:
        return list(self._shared.gaps.get(feed, []))

    def _leased(self, feed: Feed, window: Window) -> OpenWindow | None:
        """The open window that the caller's token and configuration are right for."""
        state = self._shared.feeds.get(feed.name)
        found = state.windows.get(window.id) if state is not None else None
        if state is None or found is None:
            return None
        if found.token != window.token or state.fingerprint != feed.fingerprint:
            return None
        return found


def _wait_ms(shortest_seconds: float, longest_seconds: float, attempts: int) -> int:
    doubled_ms: int = int(shortest_seconds * 1000) * 2 ** min(attempts, 30)
    return min(int(longest_seconds * 1000), doubled_ms)
