"""From settings to a verifier."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from math import inf

from redis import Redis
from redis.exceptions import RedisError

from common.config import InForce, Query, Settings, TierName
from common.errors import ConfigError, WireError
from common.promql.reach import RAW, Reach, reach_of
from common.samples.rollup import Rollup
from common.samples.series import SeriesEncoder
from common.state.connection.redis_client import connect_as_set
from common.state.history import ReplicasRead
from common.state.keys import Keys, feed_of
from common.state.windows import FeedStatus
from services.verifier.connect import sink_of, source_of
from services.verifier.expect import identify_of
from services.verifier.knowledge import Knowledge, RedisKnowledge
from services.verifier.ownership import Owns, PossiblePlaces, owner, places_of
from services.verifier.phases import History, Phases
from services.verifier.replicas import ReadFrom
from services.verifier.rollup import unmapped
from services.verifier.run import Subject, Verifier
from services.verifier.sealed.seals import SealReader
from services.verifier.sink.read import Sink
from services.verifier.source import ChunkReading, Source
from services.verifier.whole import whole_from_ms

HOT: TierName = "hot"

_UNKNOWN_RETENTION = (
    "InfluxDB does not say how long it keeps points ({}), so that explains no difference; "
    "load.tiers.{}.retention does, where it is given"
)


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a verification needs; ``knowledge`` is that of Redis where it can be read.

    ``history``: what was in force of each query that was changed, oldest first. ``notes`` are for
    the operator, each the end of a line.
    """

    settings: Settings
    queries: tuple[Query, ...]
    source: Source
    sink: Sink
    now_ms: int
    knowledge: Knowledge
    notes: tuple[str, ...] = ()
    tier: TierName = HOT
    history: Mapping[str, History] = field(default_factory=dict)
    read_from: ReadFrom = field(default_factory=ReadFrom)

    def seals_of(self, query: str) -> SealReader:
        """The seals of a query's windows."""
        return SealReader(self.sink, self.settings.pipeline.redis_namespace, query, self.tier)


def choose(settings: Settings, names: Collection[str]) -> tuple[Query, ...]:
    """The configured queries with these names, or all of them for no names.

    Raises :class:`~common.errors.ConfigError` for a name that is not configured.
    """
    queries = settings.extract.queries
    known = {query.name for query in queries}
    if unknown := sorted(set(names) - known - {query.metric for query in queries}):
        raise ConfigError(
            f"--query {', '.join(unknown)}: no such query; there are {', '.join(sorted(known))}"
        )
    return _named(settings, names)


def by_source(settings: Settings, names: Collection[str] = ()) -> tuple[Settings, ...]:
    """The settings for each source that one of these queries reads, or of all for no names.

    Raises :class:`~common.errors.ConfigError` for a name that is not configured.
    """
    read = {query.source for query in choose(settings, names)}
    return tuple(one for one in settings.each_source if one.extract.source in read)


def _named(settings: Settings, names: Collection[str]) -> tuple[Query, ...]:
    """Those with these names, or, from all sources, with these names of the file."""
    return tuple(
        query
        for query in settings.extract.queries
        if not names or query.name in names or query.metric in names
    )


def choose_tiers(
    settings: Settings, names: Collection[str], queries: Collection[str] = ()
) -> tuple[TierName, ...]:
    """The configured tiers with these names, or all for no names, that hold one of the queries.

    Raises :class:`~common.errors.ConfigError` for one that is not configured or holds none.
    """
    tiers = settings.load.tiers
    if unknown := sorted(set(names) - tiers.keys()):
        raise ConfigError(
            f"--tier {', '.join(unknown)}: no such tier; there are {', '.join(tiers)}"
        )
    chosen = choose(settings, queries)
    holding = [tier for tier in tiers if any(query.is_in(tier) for query in chosen)]
    if empty := sorted(set(names) - set(holding)):
        raise ConfigError(f"--tier {', '.join(empty)}: holds none of these queries")
    return tuple(tier for tier in holding if not names or tier in names)


def feeds_of(settings: Settings) -> set[str]:
    """All that are configured, of every source."""
    tiers, queries = settings.load.tiers, settings.extract.queries
    return {feed_of(one.name, tier) for one in queries for tier in tiers if one.is_in(tier)}


@contextmanager
def connected(
    settings: Settings,
    names: Collection[str],
    on_redis_error: Callable[[RedisError], None] | None,
    tier: TierName = HOT,
    chunks: ChunkReading | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Parts]:
    """Connections for the time of the block, and what of ``tier`` is to be compared.

    ``settings`` are those for one source (:func:`by_source`); ``names``, where there are any, may
    be of others, too.

    Reads the source's clock and the sink's retention, and checks that Redis responds. ``chunks``
    and ``tick``: as of :func:`~services.verifier.connect.source_of`.

    Raises a :class:`~common.errors.SourceError` when Prometheus cannot be reached, and a
    :class:`~common.errors.SinkError` when InfluxDB cannot. The error of a Redis that cannot goes
    to ``on_redis_error``, as a comparison is possible without it, and is raised without that.
    """
    queries = tuple(query for query in _named(settings, names) if query.is_in(tier))
    redis = connect_as_set(settings.pipeline)
    keys = Keys(settings.pipeline.redis_namespace)
    source, sink = source_of(settings, chunks, tick), sink_of(settings, tier)
    with closing(source), closing(sink), closing(redis):
        now_ms = source.now_ms()
        kept_seconds = settings.load.tiers[tier].retention_seconds or inf
        notes: tuple[str, ...] = ()
        if isinstance(silent := sink.silent_retention_seconds(), str):
            notes = (_UNKNOWN_RETENTION.format(silent, tier),)
        else:
            kept_seconds = min(kept_seconds, silent or inf)
        forgotten_up_to_ms = _forgotten_up_to_ms(sink, now_ms, kept_seconds)
        knowledge, read_from = Knowledge(forgotten_up_to_ms), ReadFrom()
        history: dict[str, History] = {}
        try:
            redis.ping()
            record = ReplicasRead(redis, keys)
            urls = [one.prometheus_url for one in settings.extract.each_replica]
            found = ReadFrom(lambda query: record.of(feed_of(query, tier)), urls)
            # Redis may go away in the middle of this, too: nothing of it is asked then.
            known = _knowledge(settings, redis, keys, tier, forgotten_up_to_ms)
            history, unreadable = _history(known, queries)
            read_from, knowledge, notes = found, known, notes + unreadable
        except RedisError as error:
            if on_redis_error is None:
                raise
            on_redis_error(error)
        yield Parts(
            settings, queries, source, sink, now_ms, knowledge, notes, tier, history, read_from
        )


def covered_range(parts: Parts) -> tuple[int | None, int | None]:
    """``(start_ms, end_ms]`` that is extracted and settled for the queries, as far as known."""
    feeds = [_feed(parts, query) for query in parts.queries]
    starts = [feed.origin_ms for feed in feeds if feed]
    ends = [feed.loaded_watermark_ms for feed in feeds if feed]
    return min(starts, default=None), min(ends, default=None)


def whole_from(parts: Parts) -> dict[str, int]:
    """After when the source still has all that a query looks at, by its name; 0 = always.

    Raises a :class:`~common.errors.SourceError` when Prometheus cannot be reached.
    """
    lowest_ms = parts.source.oldest_ms()
    found = {}
    for query in parts.queries:
        begin_ms = parts.knowledge.begin_ms(query.name)
        rollup = query.rollup(parts.tier)
        slack_ms = 1 if rollup else query.step_ms
        reach = _reach(query, rollup)
        found[query.name] = whole_from_ms(reach, lowest_ms, begin_ms, slack_ms)
    return found


def _feed(parts: Parts, query: Query) -> FeedStatus | None:
    knowledge = parts.knowledge
    return knowledge.feed(query.name) if isinstance(knowledge, RedisKnowledge) else None


def _reach(query: Query, rollup: Rollup | None) -> Reach:
    """What a point is made of: of a rollup all samples of its bucket, and the one before."""
    reach = RAW if query.kind == "select" else reach_of(query.text)
    if rollup is None:
        return reach
    return reach._replace(back_ms=reach.back_ms + rollup.resolution_ms + rollup.lead_in_ms)


def verifier(parts: Parts, progress: Callable[[int], None] = lambda position_ms: None) -> Verifier:
    """Put the parts together.

    Raises a :class:`~common.errors.SourceError` when Prometheus cannot be reached.
    """
    settings, source = parts.settings, parts.source

    def subject(in_force: InForce) -> Subject:
        query, rules = in_force.query, in_force.relabel
        encoder = SeriesEncoder(
            rules,
            valid_metrics=in_force.valid_metrics,
            expr_names=in_force.expr_names,
            layout=in_force.layout,
            cache_series=settings.transform.cache_series,
        )
        identify = identify_of(query, encoder)
        places = places_of(query, identify, source.metric_names, rules, in_force.layout)
        rollup, owns = in_force.rollup, owner(query, places, rules)
        return Subject(
            name=query.name,
            kind=query.kind,
            text=query.text,
            step_ms=query.step_ms,
            rollup=rollup,
            reach=_reach(query, rollup),
            identify=identify,
            owns=(lambda series: owns(unmapped(series))) if rollup else owns,
            places=places,
            labels=query.labels,
            classic=query.carried_kind,
        )

    def current(query: Query) -> Subject:
        return subject(InForce.of(query, settings, parts.tier))

    def elsewhere(query: Query) -> Owns:
        """What another source's query may have written: that source is not asked."""
        rules = settings.transform.relabel
        return owner(query, PossiblePlaces(query, settings.load.layout.layout), rules)

    chosen = {query.name for query in parts.queries}
    return Verifier(
        source=source,
        sink=parts.sink,
        subjects=[current(query) for query in parts.queries],
        bystanders=[
            current(query).owns if query.source == settings.extract.source else elsewhere(query)
            for query in settings.extract.every_query
            if query.name not in chosen and query.is_in(parts.tier)
        ],
        phases={name: Phases(applied, subject) for name, applied in parts.history.items()},
        knowledge=parts.knowledge,
        latest_ms=parts.now_ms + round(settings.transform.max_future_seconds * 1_000),
        oldest_source_ms=source.oldest_ms,
        read_from=parts.read_from,
        progress=progress,
    )


def _knowledge(
    settings: Settings,
    redis: Redis,
    keys: Keys,
    tier: TierName,
    forgotten_up_to_ms: Callable[[], int],
) -> RedisKnowledge:
    encoder = SeriesEncoder.from_settings(settings)
    identify = {query.name: identify_of(query, encoder) for query in settings.extract.queries}
    return RedisKnowledge(redis, keys, tier, identify, forgotten_up_to_ms)


def _history(
    knowledge: Knowledge, queries: Collection[Query]
) -> tuple[dict[str, History], tuple[str, ...]]:
    """What was in force of each query that was changed; notes about what cannot be read of it."""
    history: dict[str, History] = {}
    notes = []
    for query in queries:
        applied = []
        for change in knowledge.changes(query.name):
            try:
                applied.append((change, InForce.parse(query.name, change.configuration)))
            except WireError as error:
                notes.append(f"{error}; what was written under it is compared under another")
        if len(applied) > 1:
            history[query.name] = applied
    return history, tuple(notes)


def _forgotten_up_to_ms(sink: Sink, now_ms: int, kept_seconds: float) -> Callable[[], int]:
    """What tells the time that a sink has forgotten: it goes on while we compare."""
    began = time.monotonic()

    @cache
    def kept() -> float:
        return min(kept_seconds, sink.kept_seconds())  # asked where points differ, and only there

    def forgotten_up_to_ms() -> int:
        if kept() == inf:
            return 0
        return now_ms + round((time.monotonic() - began - kept()) * 1_000)

    return forgotten_up_to_ms
