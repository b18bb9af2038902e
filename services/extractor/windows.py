"""What has to be extracted: how far each feed may be planned, and in which pieces.

Pure arithmetic on milliseconds; :mod:`common.state.windows` keeps the result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from common.config import InForce, Query, Settings, TierName
from common.promql.reach import RAW, Reach, reach_of
from common.samples.rollup import Rollup
from common.state.backfills import Part
from common.state.windows import Feed, Window
from services.extractor.source.scrape_settings import Settle

# The way through the stages, with time to spare: with a `settle_seconds` of 30 s and an interval of
# 15 s a feed is behind from where the alerts' freshness objective is missed, 180 s.
LAG_MARGIN_MS = 135_000
# A window of a rollup may be a day: that takes longer.
LAG_MARGIN_SHARE = 0.1


@dataclass(slots=True)
class Plan:
    """How one feed is planned; only :meth:`settle` changes it.

    ``step_ms``: every bound is a multiple of it. ``head_step_ms``: the head is. ``live_ms``: how
    far back from its head a feed is live; nothing of a rollup is. ``catchup_ms``: the longest
    window of what is not live. ``configuration``: what its points depend on, as text.
    ``rollup``: what becomes of the samples; None = they stay as they are. ``retention_ms``: how
    long the sink keeps the points; None = for ever, or not known. ``settles_by_source``: whether
    ``settle_ms`` follows what the source reports; ``settle_why`` says what it follows from, and
    ``settle_known`` whether the source has told, or need not.
    """

    feed: Feed
    query: Query
    step_ms: int
    settle_ms: int
    lookback_ms: int
    live_ms: int
    catchup_ms: int
    configuration: str = ""
    rollup: Rollup | None = None
    head_step_ms: int = 1
    retention_ms: int | None = None
    settles_by_source: bool = False
    settle_why: str = "configured"
    settle_known: bool = True

    def of(self, part: Part) -> Plan:
        """The same for a part of a backfill: nothing of it is live."""
        return replace(self, feed=part.of(self.feed), live_ms=0)

    def settle(self, settle: Settle) -> None:
        """Let samples settle for so long from now on."""
        self.settle_ms, self.settle_why = self.query.settle_ms(settle.seconds), settle.why
        self.settle_known = True

    def head_ms(self, now_ms: int) -> int:
        """The last aligned instant whose samples have settled at Prometheus' time ``now_ms``."""
        return floor_to(now_ms - self.settle_ms, max(self.step_ms, self.head_step_ms))

    def next_head_at_ms(self, now_ms: int) -> int:
        """Prometheus' time at which the head moves next."""
        head_step_ms = max(self.step_ms, self.head_step_ms)
        return self.head_ms(now_ms) + head_step_ms + self.settle_ms

    @property
    def lag_limit_ms(self) -> int:
        """How far what is loaded lies behind now at most, where all goes as it should."""
        head_step_ms = max(self.step_ms, self.head_step_ms)
        margin_ms = max(LAG_MARGIN_MS, round(LAG_MARGIN_SHARE * head_step_ms))
        return self.settle_ms + head_step_ms + margin_ms

    def kept_from_ms(self, now_ms: int) -> int:
        """The first bound after which the sink keeps all points at ``now_ms``; 0 = always."""
        if self.retention_ms is None:
            return 0
        return ceil_to(max(0, now_ms - self.retention_ms), self.step_ms)

    def origin_ms(self, now_ms: int, lowest_ms: int | None) -> int:
        """Where a feed that was never planned begins.

        Not before Prometheus' lowest timestamp: there is nothing to miss there, and a bucket of a
        rollup would not be whole.
        """
        # No source knows a time before 1970, whatever the lookback.
        origin = floor_to(max(0, now_ms - self.lookback_ms), self.step_ms)
        if lowest_ms is not None:
            origin = max(origin, self.first_ms(min(lowest_ms, now_ms)))
        return min(origin, self.head_ms(now_ms))

    def longest_ms(self, window_class: str) -> int:
        """The longest window of ``window_class``."""
        return self.live_ms if window_class == "live" else self.catchup_ms

    def middle_ms(self, window: Window) -> int | None:
        """Where to split a window that is too large; ``None`` when it is one step already."""
        steps = (window.end_ms - window.start_ms) // self.step_ms
        return window.start_ms + steps // 2 * self.step_ms if steps > 1 else None

    def reach(self, window: Window) -> Reach:
        """What must still be there for this window to be whole.

        A rule needs the samples of its whole range: what is evaluated where a part of them has
        been deleted is not what it was. A live one is taken as it is, because Prometheus itself
        evaluates it so.
        """
        return RAW if window.window_class == "live" else self.needs()

    def needs(self) -> Reach:
        """What a point of this plan is made of."""
        reach = RAW if self.query.kind == "select" else reach_of(self.query.text)
        lead_in_ms = self.rollup.lead_in_ms if self.rollup else 0
        return reach._replace(back_ms=reach.back_ms + lead_in_ms)

    def expired_until_ms(self, window: Window, origin_ms: int, lowest_ms: int | None) -> int | None:
        """Up to where the source no longer holds this window, given its lowest timestamp.

        Before the feed's origin nothing was promised.
        """
        if lowest_ms is None or not self.has_deleted(origin_ms, lowest_ms):
            return None
        bound = self.first_ms(self.reach(window).whole_from_ms(lowest_ms))
        return min(bound, window.end_ms) if bound > window.start_ms else None

    def has_deleted(self, origin_ms: int, lowest_ms: int) -> bool:
        """Whether the source has deleted anything of a feed since that began.

        A feed begins at a step before the source's first sample, a rollup with its first whole
        bucket.
        """
        return lowest_ms > origin_ms + (1 if self.rollup else self.step_ms)

    def first_ms(self, whole_from_ms: int) -> int:
        """The bound of the first step that is there, where the source is whole from a time on."""
        # Samples at that time itself are there: the bound is exclusive for them.
        bound_ms = floor_to(whole_from_ms - 1, self.step_ms)
        # Of a single sample nothing can be missing, of a bucket of samples it can.
        partial = self.rollup is not None and bound_ms < whole_from_ms - 1
        return bound_ms + self.step_ms if partial else bound_ms


def floor_to(time_ms: int, step_ms: int) -> int:
    """The last multiple of ``step_ms`` at or before ``time_ms``."""
    return time_ms // step_ms * step_ms


def ceil_to(time_ms: int, step_ms: int) -> int:
    """The first multiple of ``step_ms`` at or after ``time_ms``."""
    return -(-time_ms // step_ms) * step_ms


def plans_of(settings: Settings) -> list[Plan]:
    """One plan for each query in each tier that holds it: hot first, in the order of the file."""
    return [
        _plan(query, tier, settings)
        for tier in settings.load.tiers
        for query in settings.extract.queries
        if query.is_in(tier)
    ]


def _plan(query: Query, tier: TierName, settings: Settings) -> Plan:
    extract, rollup = settings.extract, query.rollup(tier)
    step_ms, head_step_ms = query.step_ms, query.head_step_ms
    live_ms = max(head_step_ms, floor_to(round(extract.live_window_max_seconds * 1000), step_ms))
    lookback_seconds = query.initial_lookback_seconds
    if lookback_seconds is None:
        lookback_seconds = extract.initial_lookback_seconds
    catchup_ms = extract.catchup_window_samples * step_ms
    retention_seconds = settings.load.tiers[tier].retention_seconds
    if rollup is not None:
        step_ms, live_ms = rollup.resolution_ms, 0
        head_step_ms = catchup_ms = settings.load.tiers[tier].window_ms
    by_source = query.settles_by_source(extract.settle_seconds)
    return Plan(
        feed=Feed(query.name, tier, query.kind, query.fingerprint(tier)),
        query=query,
        step_ms=step_ms,
        settle_ms=query.settle_ms(extract.settle_seconds),
        settles_by_source=by_source,
        settle_known=not by_source,
        settle_why="the source was not asked yet" if by_source else "configured",
        lookback_ms=round(lookback_seconds * 1000),
        live_ms=live_ms,
        catchup_ms=catchup_ms,
        configuration=InForce.of(query, settings, tier).to_json(),
        rollup=rollup,
        head_step_ms=head_step_ms,
        retention_ms=None if retention_seconds is None else round(retention_seconds * 1000),
    )
