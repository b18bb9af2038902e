"""Planning: Prometheus' clock decides how far each feed goes.

Any extractor may plan at any time; the scripts behind it make that idempotent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from redis.exceptions import RedisError

from common.runtime.telemetry import Telemetry
from common.state.backfills import Backfills, Part, by_feed
from common.state.keys import split_feed
from common.state.windows import FeedStatus, Range, WindowSet
from services.extractor.history import SourceCheck, SourceHistory
from services.extractor.ownership import Ownership
from services.extractor.windows import Plan, floor_to

# Behind all time that is ever planned.
_END_OF_TIME_MS = 1 << 50


@dataclass(frozen=True, slots=True)
class Due:
    """Feeds that have something to extract, by class.

    ``waiting``: those that are not ours, or have not begun yet.
    """

    live: int
    catchup: int
    backfill: int = 0
    waiting: int = 0


@dataclass
class Planner:
    """Keeps every feed planned up to what has settled.

    A turn reads the state of all feeds once; more often only for a feed that has just begun.
    """

    plans: Sequence[Plan]
    windows: WindowSet
    history: SourceHistory
    telemetry: Telemetry
    close_after_seconds: float
    # Who else wants to know what was checked.
    on_check: Callable[[SourceCheck], None] = lambda _: None
    # All feeds of the configuration: those of other sources are planned by others.
    configured: frozenset[str] = frozenset()
    # Feeds that this process had planned before Redis lost them.
    _lost_feeds: set[str] = field(default_factory=set, init=False)
    _origins_ms: dict[str, int] = field(default_factory=dict, init=False)
    # Whether something was to begin at the last turn.
    _may_begin: bool = field(default=True, init=False)
    # The source's time at the last turn.
    source_ms: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        windows = self.windows
        self.configured |= {plan.feed.name for plan in self.plans}
        self._backfills = Backfills(windows.redis, windows.keys, now_ms=windows.now_ms)
        self._ownership = Ownership(self.close_after_seconds)

    def plan(self) -> Due:
        """Plan every feed, and close those that no configuration has.

        Raises :class:`common.errors.SourceError` or :class:`redis.exceptions.RedisError`.
        """
        # The lowest timestamp is where something begins.
        begins = self._may_begin
        source = self.history.check() if begins else self.history.check_run()
        parts = by_feed(self._backfills.parts(), [plan.feed.name for plan in self.plans])
        known = self.windows.status()
        if not begins and self._something_begins(known):  # Redis lost it since the last turn
            source = self.history.check()
        self.on_check(source)
        ours = [
            plan
            for plan in self.plans
            if self._plan_feed(plan, known.get(plan.feed.name), source, parts[plan.feed.name])
        ]
        status = known
        begun = [plan for plan in ours if not _reconciled(known.get(plan.feed.name))]
        if begun:
            self._reconcile(begun, source.lowest_ms)
            status = self.windows.status()
        for feed in known.keys() - self.configured:
            self._close(feed)
        self._may_begin = self._something_begins(status)
        to_do = self._backfill(ours, status, parts, source)
        self._origins_ms = {feed: found.origin_ms for feed, found in status.items()}
        begun = [plan for plan in ours if _reconciled(status.get(plan.feed.name))]
        waiting = len(self.plans) - len(begun)
        self.source_ms = source.now_ms
        return replace(_due(ours, status, source.now_ms), backfill=to_do, waiting=waiting)

    def origin_ms(self, feed: str) -> int:
        """Where the feed began; looked up when this process has not planned it yet."""
        if feed not in self._origins_ms:
            status = self.windows.status()
            self._origins_ms = {name: found.origin_ms for name, found in status.items()}
        return self._origins_ms.get(feed, 0)

    def _something_begins(self, known: Mapping[str, FeedStatus]) -> bool:
        return any(_begins(plan, known.get(plan.feed.name)) for plan in self.plans)

    def _plan_feed(
        self, plan: Plan, known: FeedStatus | None, source: SourceCheck, parts: Sequence[Part]
    ) -> bool:
        """Whether the feed is planned up to its head, and ours."""
        feed, head_ms = plan.feed, plan.head_ms(source.now_ms)
        lowest_ms = source.lowest_ms if known else self._beginning_ms(plan, source)
        if known is None and lowest_ms is not None and lowest_ms > head_ms:
            # A feed begins where its source does: not before a sample of it has settled.
            return False
        # Whoever started last has the newest configuration; an older worker which is still draining
        # cannot take the feed back.
        adopt = self._ownership.takes(feed, known)
        origin_ms = plan.origin_ms(source.now_ms, lowest_ms)
        changed = plan.configuration if adopt or known is None else ""
        if known is None and not adopt:
            # Whether Redis says so or not, it may have begun the feed anew.
            self._lost_feeds.add(feed.name)
        try:
            ours = self.windows.plan(
                feed,
                origin_ms,
                head_ms,
                adopt=adopt,
                configuration=changed,
                backfills=[part.backfill for part in parts],
                lag_limit_ms=plan.lag_limit_ms,
                settle_ms=plan.settle_ms,
                settle_why=plan.settle_why,
                may_be_unsettled=_may_be_unsettled(known, parts) if known and changed else (),
            )
        except RedisError:
            if adopt:
                self._ownership.failed(feed, known)
            raise
        if known is None and ours:
            self._report_origin(plan, source, origin_ms)
        if adopt and known is not None and known.fingerprint != feed.fingerprint:
            self.telemetry.emit("query_adopted", **feed.labels)
        if not ours:
            self.telemetry.emit("query_stale_config", **feed.labels)
        return ours

    def _beginning_ms(self, plan: Plan, source: SourceCheck) -> int | None:
        """Before when the source has nothing of a new feed; None where it answers for all of it."""
        wanted_ms, lowest_ms = plan.origin_ms(source.now_ms, None), source.lowest_ms
        if lowest_ms is None or lowest_ms <= wanted_ms:
            return lowest_ms
        older = self.history.reaches_back(plan.query, wanted_ms, lowest_ms)
        return None if older else lowest_ms

    def _report_origin(self, plan: Plan, source: SourceCheck, origin_ms: int) -> None:
        """Say where a new feed begins, unless that is where it should."""
        wanted_ms, lowest_ms = plan.origin_ms(source.now_ms, None), source.lowest_ms
        if origin_ms > wanted_ms:
            self.telemetry.emit(
                "query_begins_later", **plan.feed.labels, origin_ms=origin_ms, wanted_ms=wanted_ms
            )
        elif lowest_ms is not None and lowest_ms > wanted_ms + plan.step_ms:
            self.telemetry.emit(
                "query_begins_before_source",
                **plan.feed.labels,
                origin_ms=origin_ms,
                lowest_ms=lowest_ms,
            )

    def _reconcile(self, plans: Sequence[Plan], lowest_ms: int | None) -> None:
        """Let feeds begin no later than the sink's watermark.

        A feed that is new to Redis may be old to the sink: then Redis has lost everything. It was
        begun like a new one meanwhile, so that fresh data flows; what lies between is backlog.
        """
        watermarks_ms = self.windows.sink_watermarks()
        # The others wait until a loader has read the sink's.
        plans = [plan for plan in plans if plan.feed.name in watermarks_ms]
        status = self.windows.status() if plans else {}
        for plan in plans:
            feed = plan.feed
            found, watermark_ms = status.get(feed.name), watermarks_ms[feed.name]
            if found is None or found.reconciled:
                continue
            if watermark_ms is None and feed.name in self._lost_feeds:
                # We planned it ourselves before Redis lost it, and the sink has no watermark.
                if self.history.is_failing():
                    continue  # where it begins is known again later
                watermark_ms = lowest_ms
            start_ms = None if watermark_ms is None else floor_to(watermark_ms, plan.step_ms)
            added_ms = self.windows.set_reconciled(feed, start_ms)
            if added_ms is None:
                continue
            if added_ms:
                self.telemetry.emit(
                    "query_extended", **feed.labels, start_ms=start_ms, end_ms=found.origin_ms
                )
            self._lost_feeds.discard(feed.name)

    def _backfill(
        self,
        plans: Sequence[Plan],
        status: Mapping[str, FeedStatus],
        parts: Mapping[str, Sequence[Part]],
        source: SourceCheck,
    ) -> int:
        """Begin what is configured, and join what is loaded; how many parts have something to do.

        A part of a feed that no configuration has is forgotten with it.
        """
        for plan in plans:
            feed = plan.feed
            found = status.get(feed.name)
            if found is not None and parts[feed.name]:
                unsettled = _may_be_unsettled(found, parts[feed.name])
                origin_ms = self._backfills.join(feed.name, parts[feed.name], unsettled)
                if origin_ms is not None:
                    self.telemetry.emit("backfill_joined", **feed.labels, origin_ms=origin_ms)
            if found and found.reconciled and _begins(plan, found):
                self._begin_backfill(plan, found, source)
        for part in (part for feed in parts.keys() - self.configured for part in parts[feed]):
            self._backfills.close(part, self.close_after_seconds)
        return sum(bool(part.coming) for plan in plans for part in parts[plan.feed.name])

    def _begin_backfill(self, plan: Plan, found: FeedStatus, source: SourceCheck) -> None:
        """The configured one: all that the source has before the origin, and the sink keeps."""
        feed, lowest_ms = plan.feed, source.lowest_ms
        if lowest_ms is None or lowest_ms > source.now_ms:
            return  # nothing, or nobody knows; a server that starts does not know yet
        start_ms = max(
            plan.first_ms(plan.needs().whole_from_ms(lowest_ms)), plan.kept_from_ms(source.now_ms)
        )
        wanted = [(min(start_ms, found.origin_ms), found.origin_ms)]
        id_, taken = self._backfills.create({feed: wanted}, *wanted[0], configured=True)
        if taken.get(feed.name):
            self.telemetry.emit(
                "backfill_begun",
                **feed.labels,
                backfill=id_,
                start_ms=start_ms,
                end_ms=found.origin_ms,
            )

    def _close(self, feed: str) -> None:
        backlog = self.windows.close(feed, self.close_after_seconds, "query removed")
        if backlog is None:
            return
        query, tier = split_feed(feed)
        self.telemetry.emit("query_closed", query=query, tier=tier, backlog_ms=list(backlog))


def _may_be_unsettled(known: FeedStatus, parts: Sequence[Part]) -> list[Range]:
    """Where windows may lie that are committed, and not settled, some time after this was read."""
    coming = [range_ for part in parts for range_ in part.coming]
    extracted = [*known.below, *known.unsettled, *known.open, *known.backlog]
    return [*coming, *extracted, (known.head_ms, _END_OF_TIME_MS)]


def _reconciled(feed: FeedStatus | None) -> bool:
    return feed is not None and feed.reconciled


def _begins(plan: Plan, feed: FeedStatus | None) -> bool:
    """Whether the feed, or the backfill that is configured, has not begun yet."""
    return not _reconciled(feed) or bool(plan.query.backfill and not (feed and feed.backfilled))


def _due(plans: Sequence[Plan], status: Mapping[str, FeedStatus], now_ms: int) -> Due:
    """What there is to extract, given the state of the feeds before they were planned."""
    live = catchup = 0
    for plan in plans:
        feed = status.get(plan.feed.name)
        if feed is None:
            continue
        head_ms = max(feed.head_ms, plan.head_ms(now_ms))
        border_ms = head_ms - plan.live_ms
        to_do = [*feed.backlog, *feed.open]
        if head_ms > feed.head_ms:
            to_do.append((feed.head_ms, head_ms))
        live += any(end > border_ms for _, end in to_do)
        # What is deferred is tried again as catch-up, however fresh it is.
        catchup += bool(feed.deferred) or any(start < border_ms for start, _ in to_do)
    return Due(live, catchup)
