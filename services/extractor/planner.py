"""Planning: Prometheus' clock decides how far each feed goes.

Any extractor may plan at any time; the scripts behind it make that idempotent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.runtime.telemetry import Telemetry
from common.state.keys import split_feed
from common.state.windows import Feed, FeedStatus, WindowSet
from services.extractor.windows import Plan, floor_to


class Clock(Protocol):
    """What planning needs of Prometheus."""

    def now_ms(self) -> int:
        """Prometheus' own time."""
        ...

    def lowest_timestamp_ms(self) -> int | None:
        """The oldest timestamp that it still holds, if it says so."""
        ...


@dataclass(frozen=True, slots=True)
class Due:
    """Feeds that have something to extract, by class."""

    live: int
    catchup: int


class Planner:
    """Keeps every feed planned up to what has settled."""

    def __init__(
        self,
        plans: Sequence[Plan],
        windows: WindowSet,
        source: Clock,
        telemetry: Telemetry,
        *,
        close_after_seconds: float,
    ) -> None:
        self._plans = plans
        self._windows = windows
        self._source = source
        self._telemetry = telemetry
        self._close_after_seconds = close_after_seconds
        self._adopted: set[str] = set()
        # Feeds that this process had planned before Redis lost them.
        self._forgotten: set[str] = set()
        self.origins_ms: dict[str, int] = {}

    def plan(self) -> Due:
        """Plan every feed, and close those that no configuration has.

        Raises :class:`common.errors.SourceError` or :class:`redis.exceptions.RedisError`.
        """
        now_ms = self._source.now_ms()
        known = self._windows.status()
        lowest_ms: int | None = None
        if any(plan.feed.name not in known for plan in self._plans):
            lowest_ms = self._source.lowest_timestamp_ms()
        for plan in self._plans:
            if (
                plan.feed.name not in known
                and lowest_ms is not None
                and lowest_ms > plan.head_ms(now_ms)
            ):
                # A feed begins where its source does: not before a sample of it has settled.
                continue
            self._plan_feed(plan, known.get(plan.feed.name), now_ms, lowest_ms)
        self._reconcile()
        configured = {plan.feed.name for plan in self._plans}
        for feed in known.keys() - configured:
            self._close(feed)
        status = self._windows.status()
        self.origins_ms = {feed: found.origin_ms for feed, found in status.items()}
        return self._due(status)

    def origin_ms(self, feed: Feed) -> int:
        """Where the feed began; looked up when this process has not planned it yet."""
        if feed.name not in self.origins_ms:
            status = self._windows.status()
            self.origins_ms = {name: found.origin_ms for name, found in status.items()}
        return self.origins_ms.get(feed.name, 0)

    def _plan_feed(
        self, plan: Plan, known: FeedStatus | None, now_ms: int, lowest_ms: int | None
    ) -> None:
        feed = plan.feed
        # Whoever started last has the newest configuration; it takes the feed over once, so that
        # an older worker which is still draining cannot take it back.
        adopt = feed.name not in self._adopted
        changed = known is not None and known.fingerprint != feed.fingerprint
        ours = self._windows.plan(
            feed, plan.origin_ms(now_ms, lowest_ms), plan.head_ms(now_ms), adopt=adopt
        )
        self._adopted.add(feed.name)
        if known is None and not adopt:
            self._forgotten.add(feed.name)
        if adopt and changed:
            self._telemetry.emit("query_adopted", query=feed.query, tier=feed.tier)
        if not ours:
            self._telemetry.emit("query_stale_config", query=feed.query, tier=feed.tier)

    def _reconcile(self) -> None:
        """Let feeds begin no later than the sink's watermark says.

        A feed that is new to Redis may be old to the sink: then Redis has lost everything. It was
        begun like a new one meanwhile, so that fresh data flows; what lies between is owed.
        """
        said = self._windows.sink_watermarks()
        status = self._windows.status()
        for plan in self._plans:
            feed, found = plan.feed, status.get(plan.feed.name)
            if found is None or found.reconciled or found.fingerprint != feed.fingerprint:
                continue
            if feed.name not in said:
                continue  # no loader has asked the sink yet
            watermark_ms = said[feed.name]
            if watermark_ms is None and feed.name in self._forgotten:
                # We planned it ourselves before Redis forgot it, and the sink knows of nothing.
                watermark_ms = self._source.lowest_timestamp_ms()
            if watermark_ms is not None and watermark_ms < found.origin_ms:
                start_ms = floor_to(watermark_ms, plan.step_ms)
                self._windows.reopen(feed, start_ms, found.origin_ms, extend=True)
                self._telemetry.emit(
                    "query_extended",
                    query=feed.query,
                    tier=feed.tier,
                    start_ms=start_ms,
                    end_ms=found.origin_ms,
                )
            self._windows.set_reconciled(feed)
            self._forgotten.discard(feed.name)

    def _close(self, feed: str) -> None:
        owed = self._windows.close(feed, self._close_after_seconds, "query removed")
        if owed is None:
            return
        query, tier = split_feed(feed)
        self._telemetry.emit("query_closed", query=query, tier=tier, backlog_ms=list(owed))

    def _due(self, status: Mapping[str, FeedStatus]) -> Due:
        live = catchup = 0
        for plan in self._plans:
            feed = status.get(plan.feed.name)
            if feed is None or feed.fingerprint != plan.feed.fingerprint:
                continue
            border_ms = feed.head_ms - plan.live_ms
            owed = (*feed.backlog, *feed.open)
            live += any(end > border_ms for _, end in owed)
            catchup += any(start < border_ms for start, _ in owed)
        return Due(live, catchup)
