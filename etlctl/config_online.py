"""What Prometheus gives for each query now: ``etlctl config check --online`` and ``doctor``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from common.config import Query, Settings
from common.config.query import INCREASE
from common.durations import format_duration
from common.errors import (
    ConfigError,
    QueryRejected,
    QueryTooLarge,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from common.promql.selector import NAME_LABEL
from common.samples.rollup import Rollup
from services.extractor.prometheus import PrometheusClient
from services.extractor.source.scrape_settings import LATE_SHARE, ScrapeSettings

# So far back an instant query of Prometheus looks for a sample of a series, unless configured.
LOOKBACK_MS = 300_000
# Metrics that a warning names.
NAMES_SHOWN = 3


def query_warnings(settings: Settings) -> dict[str, str]:
    """By query: that it matches no series now, why Prometheus rejects it, or what is odd about it.

    Each is read as the extractor reads it, and given up after the first samples. Raises
    :class:`ConfigError` for tiers that are finer than what they hold is scraped, and a
    :class:`~common.errors.SourceError` where Prometheus cannot be reached or refuses us.
    """
    found: dict[str, str] = {}
    for one_source in settings.each_source:
        found |= _warnings(one_source)
    return {name: warning for name, warning in found.items() if warning}


def _warnings(settings: Settings) -> dict[str, str]:
    """Those of one source's queries; empty where all is well.

    Of replicas each that answers is asked: what one of them has is there.
    """
    found: dict[str, str] | None = None
    errors: list[SourceError] = []
    for extract in settings.extract.each_replica:
        try:
            of_one = _warnings_of(settings.model_copy(update={"extract": extract}))
        except (SourceUnavailable, SourceRefused) as error:
            errors.append(error)
            continue
        found = of_one if found is None else {name: found[name] and of_one[name] for name in found}
    if found is None:
        raise errors[0]
    return found


def _warnings_of(settings: Settings) -> dict[str, str]:
    """The same of one server."""
    with closing(PrometheusClient(settings.extract)) as client:
        scraped = client.scrape_settings()
        settled_ms = settled(settings, scraped, client.now_ms())
        found = {
            query.name: answer_to(client, query, settled_ms[query.name]).warning
            for query in settings.extract.queries
        }
        if rolled_up := rolled_up_of(settings, settled_ms):
            problems = [p for one in rolled_up for p in one.too_fine(client, scraped)]
            if problems:
                raise ConfigError(*problems)
            for one in rolled_up:
                found[one.query.name] = found[one.query.name] or one.of_gauges(client)
    return found


def settled(settings: Settings, scraped: ScrapeSettings, now_ms: int) -> dict[str, int]:
    """Up to when each query has settled at Prometheus' time ``now_ms``, by its name."""
    extract = settings.extract
    return {
        query.name: now_ms - scraped.settle_ms(query, extract.settle_seconds)
        for query in extract.queries
    }


def rolled_up_of(settings: Settings, settled_ms: Mapping[str, int]) -> list[RolledUp]:
    """The queries of raw samples that tiers hold rollups of."""
    return [
        RolledUp(query, rollups, settled_ms[query.name])
        for query in settings.extract.queries
        if query.kind == "select" and (rollups := _rollups(query, settings))
    ]


def _rollups(query: Query, settings: Settings) -> dict[str, Rollup]:
    """What the tiers hold of a query, by tier; hot holds it as it is."""
    found = {tier: query.rollup(tier) for tier in settings.load.tiers if query.is_in(tier)}
    return {tier: rollup for tier, rollup in found.items() if rollup is not None}


@dataclass(frozen=True, slots=True)
class RolledUp:
    """A query of raw samples that has settled up to a time, and its rollups by tier."""

    query: Query
    rollups: Mapping[str, Rollup]
    settled_ms: int

    def too_fine(self, client: PrometheusClient, scraped: ScrapeSettings) -> Iterator[str]:
        """Which tiers would have buckets without samples, as a job is scraped more rarely."""
        finest_ms = min(rollup.resolution_ms for rollup in self.rollups.values())
        slow = {
            one.job: one.interval_seconds
            for one in sorted(scraped.targets_of(self.query), key=lambda one: one.interval_seconds)
            if one.interval_seconds * 1000 > finest_ms
        }
        if not slow:
            return
        back_ms = max(LOOKBACK_MS, round(LATE_SHARE * max(slow.values()) * 1000))
        jobs = self._values_of("job", client, back_ms)
        for tier, rollup in self.rollups.items():
            for job in sorted(slow.keys() & jobs):
                interval_ms = round(slow[job] * 1000)
                if rollup.resolution_ms < interval_ms:
                    yield (
                        f"load.tiers.{tier}.resolution: is {format_duration(rollup.resolution_ms)},"
                        f" finer than job {job} is scraped ({format_duration(interval_ms)}), which "
                        f"query {self.query.name} reads: buckets would have no samples"
                    )

    def of_gauges(self, client: PrometheusClient) -> str:
        """That an increase is configured of what is a gauge throughout; else empty."""
        tiers = [tier for tier, one in self.rollups.items() if INCREASE in one.aggregates]
        if not tiers:
            return ""
        names = sorted(self._values_of(NAME_LABEL, client, LOOKBACK_MS))
        types = client.metric_types()
        if not names or not all(map(types.is_gauge, names)):
            return ""
        shown = ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
        return (
            f"{', '.join(tiers)} would hold its increase, which is of counters, and all that it "
            f"matches are gauges: {shown}"
        )

    def _values_of(self, label: str, client: PrometheusClient, back_ms: int) -> set[str]:
        """What values a label has in its series; none where that cannot be read at once."""
        start_ms = self.settled_ms - back_ms
        try:
            return set(client.values_of(label, self.query, start_ms, self.settled_ms))
        except (QueryTooLarge, QueryRejected):
            return set()


@dataclass(frozen=True, slots=True)
class Answer:
    """Why Prometheus rejects a query, empty if it does not; whether it matches no series now."""

    rejected: str = ""
    nothing: bool = False

    @property
    def warning(self) -> str:
        """What is odd about it; empty for nothing."""
        return self.rejected or ("matches no series now" if self.nothing else "")


def answer_to(client: PrometheusClient, query: Query, settled_ms: int) -> Answer:
    """What Prometheus answers to a query that has settled up to a time."""
    end_ms = settled_ms // query.step_ms * query.step_ms
    length_ms = query.step_ms if query.kind == "expr" else max(query.step_ms, LOOKBACK_MS)
    try:
        matches = next(client.read(query, end_ms - length_ms, end_ms), None) is not None
    except QueryTooLarge:
        return Answer()
    except QueryRejected as error:
        return Answer(rejected=str(error))
    return Answer(nothing=not matches and not query.may_be_empty)
