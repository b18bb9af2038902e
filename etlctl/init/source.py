"""What a Prometheus holds, asked with a few cheap queries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from common.config import ExtractSettings, Query
from common.errors import QueryRejected, QueryTooLarge
from common.source.http_session import source_session
from common.source.transport import Transport
from services.extractor.history import NO_SAMPLES_MS
from services.extractor.prometheus import PrometheusClient
from services.extractor.source.scrape_settings import ScrapeSettings

DAY_SECONDS = 86_400
# Prometheus adds these to each scrape: up and four of scrape_….
OWN_SERIES_OF_A_TARGET = 5
# A label with more values than this makes series that nobody reads years later.
MANY_VALUES = 1_000
_COUNT_RANGE_SECONDS = 600
_DEFAULT_INTERVAL_SECONDS = 60.0
_INFO_BYTES = 4 << 20
_STEP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Job:
    """What is scraped under one name; ``sources``: by which of several."""

    name: str
    targets: int
    series: int
    interval_seconds: float
    sources: tuple[str, ...] = ()

    @property
    def samples_a_day(self) -> int:
        """How many samples its series have in a day."""
        return round(self.series * DAY_SECONDS / self.interval_seconds)


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What was found.

    ``version`` and ``retention`` are empty, ``lowest_ms`` None where the server does not say.
    ``settle_seconds``: where the extractor cannot tell by itself. ``many_values``: labels with very
    many values, and how many each has. ``sources``: the names of several.
    """

    version: str
    retention: str
    now_ms: int
    lowest_ms: int | None
    metrics: int
    settle_seconds: float | None
    jobs: tuple[Job, ...]
    many_values: Mapping[str, int] = field(default_factory=dict)
    sources: tuple[str, ...] = ()

    @property
    def history_seconds(self) -> float:
        """How much time the server holds; 0 if it does not say."""
        return 0.0 if self.lowest_ms is None else max(0.0, (self.now_ms - self.lowest_ms) / 1000)


def look_at_sources(extract: ExtractSettings) -> SourceFacts:
    """Ask each source, and each replica of it.

    Raises a :class:`~common.errors.SourceError` where one of them cannot be reached.
    """
    if not extract.sources:
        return of_replicas([look_at_source(one) for one in extract.each_replica])
    return of_sources(
        {
            one.name: of_replicas(
                [look_at_source(replica) for replica in extract.only(one).each_replica]
            )
            for one in extract.sources
        }
    )


def of_replicas(each: Sequence[SourceFacts]) -> SourceFacts:
    """Servers that scrape the same, as one: of each job what the fullest has."""
    jobs: dict[str, Job] = {}
    for job in (job for one in each for job in one.jobs):
        jobs[job.name] = max(jobs.get(job.name, job), job, key=lambda found: found.series)
    return _joint(each, jobs, max(one.metrics for one in each))


def of_sources(each: Mapping[str, SourceFacts]) -> SourceFacts:
    """Sources that scrape for themselves, together."""
    jobs: dict[str, Job] = {}
    for name, one in each.items():
        for job in one.jobs:
            before = jobs.get(job.name, Job(job.name, 0, 0, job.interval_seconds))
            jobs[job.name] = Job(
                job.name,
                before.targets + job.targets,
                before.series + job.series,
                min(before.interval_seconds, job.interval_seconds),
                (*before.sources, name),
            )
    joint = _joint(list(each.values()), jobs, max(one.metrics for one in each.values()))
    return replace(joint, sources=tuple(each))


def _joint(each: Sequence[SourceFacts], jobs: Mapping[str, Job], metrics: int) -> SourceFacts:
    first, *more = each
    if not more:
        return replace(first, jobs=tuple(jobs.values()))
    values: dict[str, int] = {}
    for label, number in (item for one in each for item in one.many_values.items()):
        values[label] = max(number, values.get(label, 0))
    return SourceFacts(
        version=", ".join(dict.fromkeys(one.version for one in each if one.version)),
        retention=", ".join(dict.fromkeys(one.retention for one in each if one.retention)),
        now_ms=first.now_ms,
        lowest_ms=min((one.lowest_ms for one in each if one.lowest_ms is not None), default=None),
        metrics=metrics,
        settle_seconds=max(
            (one.settle_seconds for one in each if one.settle_seconds is not None), default=None
        ),
        jobs=tuple(jobs[name] for name in sorted(jobs)),
        many_values=values,
    )


def look_at_source(extract: ExtractSettings) -> SourceFacts:
    """Ask it. Raises a :class:`~common.errors.SourceError` where it cannot be reached."""
    with closing(PrometheusClient(extract)) as client:
        now_ms = client.now_ms()
        scraped = client.scrape_settings()
        run, lowest_ms = client.run(), client.lowest_timestamp_ms()
        jobs = _jobs(client, scraped, now_ms)
        metrics = len(client.metric_types().types)
    with closing(Transport(extract.prometheus_url, source_session(extract))) as transport:
        version = version_of(transport, extract.timeout_seconds)
        tsdb = _data(transport, "api/v1/status/tsdb", extract.timeout_seconds)
    return SourceFacts(
        version=version,
        retention=run.retention if run else "",
        now_ms=now_ms,
        lowest_ms=None if lowest_ms in (None, NO_SAMPLES_MS) else lowest_ms,
        metrics=metrics,
        settle_seconds=_settle_seconds(scraped, jobs),
        jobs=jobs,
        many_values=_many_values(tsdb),
    )


def _settle_seconds(scraped: ScrapeSettings, jobs: Sequence[Job]) -> float | None:
    """What the extractor will not find out by itself; None where it does."""
    if scraped.targets:
        return None
    measured = [1.1 * job.interval_seconds for job in jobs]
    return max(measured, default=1.1 * _DEFAULT_INTERVAL_SECONDS) + 10


def version_of(transport: Transport, timeout_seconds: float) -> str:
    """Its version; empty where it does not say."""
    build = _data(transport, "api/v1/status/buildinfo", timeout_seconds)
    return str(build.get("version", ""))


def _jobs(client: PrometheusClient, scraped: ScrapeSettings, now_ms: int) -> tuple[Job, ...]:
    targets = _by_job(client, "count by (job) (up)", now_ms)
    series = _by_job(client, "sum by (job) (scrape_samples_post_metric_relabeling)", now_ms)
    counted = _by_job(
        client, f"max by (job) (count_over_time(up[{_COUNT_RANGE_SECONDS}s]))", now_ms
    )
    intervals = {one.job: one.interval_seconds for one in scraped.targets}
    found = []
    for name, count in sorted(targets.items()):
        # Whoever does not say how it scrapes shows it.
        measured = _COUNT_RANGE_SECONDS / counted[name] if counted.get(name, 0) > 1 else 0.0
        interval = intervals.get(name) or measured or _DEFAULT_INTERVAL_SECONDS
        own = OWN_SERIES_OF_A_TARGET * count
        found.append(Job(name, round(count), round(series.get(name, 0) + own), interval))
    return tuple(found)


def _by_job(client: PrometheusClient, expr: str, now_ms: int) -> dict[str, float]:
    """The value of each job now; empty where the server cannot tell."""
    query = Query(name="init", expr=expr, step=_STEP_SECONDS)
    end_ms = now_ms // 1000 * 1000
    found: dict[str, float] = {}
    try:
        for block in client.read(query, end_ms - 1000 * _STEP_SECONDS, end_ms):
            for labels, value in zip(block.series, block.values.tolist(), strict=True):
                if job := json.loads(labels).get("job"):
                    found[job] = value
    except (QueryTooLarge, QueryRejected):
        return {}
    return found


def _many_values(tsdb: Mapping[str, Any]) -> dict[str, int]:
    found = {}
    for one in tsdb.get("labelValueCountByLabelName") or ():
        try:
            name, values = str(one["name"]), int(one["value"])
        except (KeyError, TypeError, ValueError):
            continue
        if values >= MANY_VALUES and name not in ("__name__", "job", "instance", "le"):
            found[name] = values
    return found


def _data(transport: Transport, path: str, timeout_seconds: float) -> Mapping[str, Any]:
    body = transport.document(path, timeout_seconds, _INFO_BYTES) or b""
    try:
        data = json.loads(body)["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
