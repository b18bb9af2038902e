"""What of a tier of rollups can be compared: only what a window of it was planned for.

A window of theirs is an hour long or more, and none is planned before all of it has settled: most
ranges reach beyond the newest one, and a young pipeline has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from common.config import Query, Settings, TierName
from common.state.feeds import FeedStatus
from services.verifier.knowledge import RedisKnowledge
from services.verifier.wiring import HOT, Parts

# Within so long after it has settled a window is planned.
PLANNED_WITHIN_MS = 60_000
# What the source is scraped with is not asked here: hardly any settles longer.
SETTLED_BY_SOURCE_MS = 600_000


def with_windows(parts: Parts) -> tuple[Parts, tuple[str, ...]]:
    """The same for the queries that have a window, and the names of the others.

    That is all of them in the hot tier, and where Redis cannot be read. A query that Redis does not
    know, although its source is old enough for a window, is not excused.

    Raises a :class:`~common.errors.SourceError` when Prometheus cannot be reached.
    """
    feeds = _feeds(parts)
    if feeds is None:
        return parts, ()
    oldest_ms = parts.source.oldest_ms()
    without = [
        query.name
        for query in parts.queries
        if not _has_window(parts, query, feeds.get(query.name), oldest_ms)
    ]
    queries = tuple(query for query in parts.queries if query.name not in without)
    return replace(parts, queries=queries), tuple(without)


def planned_part(
    parts: Parts, start_ms: int, end_ms: int
) -> tuple[tuple[int, int], Mapping[str, int]]:
    """What of ``(start_ms, end_ms]`` its windows can hold, and after when each query begins.

    The range is empty where they hold none; it is the same in the hot tier, and where Redis cannot
    be read or does not know a query.
    """
    feeds, knowledge = _feeds(parts), parts.knowledge
    rollup = parts.settings.load.tiers[parts.tier].rollup
    if feeds is None or rollup is None or len(feeds) < len(parts.queries):
        return (start_ms, end_ms), {}
    end_ms = min([end_ms, *(feed.head_ms for feed in feeds.values())])
    begins_ms = {name: knowledge.begin_ms(name) for name in feeds}
    # A point stands at the end of its bucket: none lies behind the last one.
    end_ms = end_ms // rollup.resolution_ms * rollup.resolution_ms
    return (max(start_ms, min(begins_ms.values(), default=start_ms)), end_ms), begins_ms


def _feeds(parts: Parts) -> dict[str, FeedStatus] | None:
    """What Redis knows of the queries, by name; None where that is not to be asked."""
    knowledge = parts.knowledge
    if parts.tier == HOT or not isinstance(knowledge, RedisKnowledge):
        return None
    found = {query.name: knowledge.feed(query.name) for query in parts.queries}
    return {name: feed for name, feed in found.items() if feed is not None}


def _has_window(parts: Parts, query: Query, feed: FeedStatus | None, oldest_ms: int) -> bool:
    if feed is not None:
        # Before it is reconciled, older time may be missing that a Redis has lost.
        return feed.head_ms > parts.knowledge.begin_ms(query.name) or not feed.reconciled
    return window_due(parts.settings, query, parts.tier, oldest_ms, parts.now_ms)


def window_due(
    settings: Settings, query: Query, tier: TierName, oldest_ms: int, now_ms: int
) -> bool:
    """Whether a query must have a window in a tier of rollups at ``now_ms``.

    Its source holds everything after ``oldest_ms``: the first window begins with a whole bucket.
    """
    of_tier = settings.load.tiers[tier]
    resolution_ms = of_tier.rollup.resolution_ms if of_tier.rollup else 1
    default_seconds = settings.extract.settle_seconds
    settle_ms = query.settle_ms(default_seconds)
    if query.settles_by_source(default_seconds):
        settle_ms = max(settle_ms, SETTLED_BY_SOURCE_MS)
    settled_ms = now_ms - settle_ms - PLANNED_WITHIN_MS
    newest_end_ms = settled_ms // of_tier.window_ms * of_tier.window_ms
    return -(-oldest_ms // resolution_ms) * resolution_ms < newest_end_ms
