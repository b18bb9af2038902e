"""Prometheus: whether it answers, keeps samples for long enough, and what each query costs it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from common.config import Query, Settings
from common.durations import format_duration, parse_duration_ms
from common.errors import QueryTooLarge
from common.source.http_session import source_session
from common.source.transport import Transport
from etlctl.config_online import RolledUp, answer_to, rolled_up_of, settled
from etlctl.doctor.report import Report, Said, failure, ok, warning
from etlctl.init.source import version_of
from etlctl.output import thousands
from services.extractor.history import NO_SAMPLES_MS, NOT_REPORTED
from services.extractor.prometheus import PrometheusClient
from services.extractor.source.clock import SourceClock
from services.extractor.source.scrape_settings import ScrapeSettings

SECTION = "prometheus"
# Of the interval, how much one query may take to be read before queries wait for each other.
MOST_OF_INTERVAL = 0.5
_DAY_MS = 86_400_000


def look_at_prometheus(report: Report, settings: Settings) -> None:
    """Everything that the extractor needs of it."""
    for one_source in settings.each_source:
        replicas = one_source.extract.each_replica
        for extract in replicas:
            url = [extract.prometheus_url] if len(replicas) > 1 else []
            name = " ".join(filter(None, [extract.source, *url]))
            _look_at(report, one_source.model_copy(update={"extract": extract}), name)


def _look_at(report: Report, settings: Settings, name: str) -> None:
    """``name``: that of one of several sources or replicas."""

    def of_source(check: str) -> str:
        return f"{check} {name}" if name else check

    with closing(PrometheusClient(settings.extract)) as client:
        source = _Source(settings, client)
        where = f"{name} in extract" if name else "extract.prometheus_url"
        do = f"check {where}, its auth, headers and params, and that it runs"
        if not report.check(SECTION, of_source("reachable"), source.reachable, do):
            return
        report.check(SECTION, of_source("clock"), source.clock)
        report.check(SECTION, of_source("retention"), source.retention)
        report.check(SECTION, of_source("settling"), source.settling)
        for query in settings.extract.queries:
            report.check(SECTION, f"query {query.name}", partial(source.query, query))
        for one in rolled_up_of(settings, source.settled_ms):
            report.check(SECTION, f"tiers of {one.query.name}", partial(source.tiers, one))


@dataclass
class _Source:
    settings: Settings
    client: PrometheusClient
    settled_ms: dict[str, int] = field(default_factory=dict)
    _now_ms: int = 0
    _scraped: ScrapeSettings | None = None

    def reachable(self) -> Iterator[Said]:
        """Its clock is the first thing that the extractor asks for."""
        extract = self.settings.extract
        self._now_ms = self.client.now_ms()
        self.settled_ms = settled(self.settings, self._scrape_settings(), self._now_ms)
        with closing(Transport(extract.prometheus_url, source_session(extract))) as transport:
            version = version_of(transport, extract.timeout_seconds)
        yield ok(f"{extract.prometheus_url}, version {version or 'unknown'}")

    def clock(self) -> Iterator[Said]:
        """Its clock decides what has settled, as far as ours agrees."""
        ahead: dict[str, float] = {}
        tolerance_seconds = self.settings.extract.clock_tolerance_seconds
        SourceClock(self.client.clock_reading, show=ahead.__setitem__).check()
        own_seconds = ahead["own"]
        if abs(own_seconds) <= tolerance_seconds:
            yield ok(f"agrees with ours within {tolerance_seconds:g} s")
        elif own_seconds > 0:
            yield failure(
                f"is {own_seconds:.1f} s ahead of ours, and extract.clock_tolerance_seconds allows "
                f"{tolerance_seconds:g} s: what is beyond that is not extracted yet",
                "set both clocks by NTP",
            )
        else:
            yield warning(
                f"is {-own_seconds:.1f} s behind ours: all is extracted so much later",
                "set both clocks by NTP",
            )

    def retention(self) -> Iterator[Said]:
        """Its history is what the pipeline recovers from."""
        lowest_ms, run = self.client.lowest_timestamp_ms(), self.client.run()
        if lowest_ms is None:
            yield warning(NOT_REPORTED, "let its own /metrics through to the extractor")
        elif lowest_ms == NO_SAMPLES_MS:
            yield warning("holds no samples yet", "wait until it has scraped something")
        if run is None or not run.retention:
            do = "see that it keeps samples for longer than the pipeline may be down"
            yield warning("does not say how long it keeps samples", do)
            return
        try:
            kept_ms = parse_duration_ms(run.retention.split(" or ")[0])
        except ValueError:
            yield ok(f"keeps {run.retention} of samples")
            return
        short = [f"{what} ({format_duration(ms)})" for what, ms in self._asked() if ms > kept_ms]
        if not short:
            days = "" if lowest_ms in (None, NO_SAMPLES_MS) else self._held(lowest_ms or 0)
            yield ok(f"keeps {run.retention}{days}; the pipeline may be down for as long")
            return
        yield failure(
            f"keeps {run.retention}, less than {', '.join(short)}: what it deletes by then is lost",
            "start it with a longer --storage.tsdb.retention.time",
        )

    def _held(self, lowest_ms: int) -> str:
        return f", holds {max(0.0, (self._now_ms - lowest_ms) / _DAY_MS):.1f} days now"

    def _asked(self) -> Iterator[tuple[str, int]]:
        """How far back the configuration reads."""
        extract = self.settings.extract
        yield "extract.initial_lookback_seconds", round(extract.initial_lookback_seconds * 1000)
        for seconds in extract.recheck_after_seconds[-1:]:
            yield "extract.recheck_after_seconds", round(seconds * 1000)
        for name, tier in self.settings.load.tiers.items():
            if tier.rollup is not None:
                yield f"load.tiers.{name}.window", tier.window_ms

    def settling(self) -> Iterator[Said]:
        """Samples that are read too early change afterwards."""
        scraped, default_seconds = self._scrape_settings(), self.settings.extract.settle_seconds
        unknown = False
        short: list[tuple[float, str]] = []
        by_source: dict[float, list[str]] = {}
        for query in self.settings.extract.queries:
            needed = scraped.needed_seconds(query)
            unknown = unknown or needed is None
            if query.settles_by_source(default_seconds):
                by_source.setdefault(scraped.settle(query).seconds, []).append(query.name)
                continue
            settle_seconds = query.settle_ms(default_seconds) / 1000
            if needed is not None and needed > settle_seconds:
                short.append((needed, f"{query.name} ({settle_seconds:g} s)"))
        if short:
            most = -(-max(needed for needed, _ in short) // 1)
            yield warning(
                "settle_seconds is too short for how it scrapes and evaluates, so samples may "
                f"change after they were read: {', '.join(name for _, name in short)}",
                f"set extract.settle_seconds to {most:g}, or that of these queries",
            )
        elif unknown:
            do = "compare extract.settle_seconds with 1.1 × scrape interval + time-out yourself"
            yield warning("does not say how often it scrapes", do)
        elif by_source:
            told = [f"{seconds:g} s ({', '.join(names)})" for seconds, names in by_source.items()]
            yield ok(f"samples settle by how it scrapes and evaluates: {'; '.join(sorted(told))}")
        else:
            yield ok("settle_seconds fits how it scrapes and evaluates")

    def query(self, query: Query) -> Iterator[Said]:
        """Whether it is accepted, matches anything, and what one window of it costs."""
        settled_ms = self.settled_ms[query.name]
        answer = answer_to(self.client, query, settled_ms)
        if answer.rejected:
            yield failure(answer.rejected, "correct the query: it is never extracted so")
        elif answer.nothing:
            do = "check its names and labels; may_be_empty: true, where that is normal"
            yield warning(answer.warning, do)
        else:
            yield self._cost(query, settled_ms)

    def _cost(self, query: Query, settled_ms: int) -> Said:
        interval_ms = round(self.settings.pipeline.interval_seconds * 1000)
        length_ms = max(1, interval_ms // query.step_ms) * query.step_ms
        end_ms = settled_ms // query.step_ms * query.step_ms
        began, samples, series = time.monotonic(), 0, 0
        try:
            for block in self.client.read(query, end_ms - length_ms, end_ms):
                samples += len(block) + len(block.histograms_ms)
                series += len(block.series)
            seconds, size = time.monotonic() - began, self.client.received_bytes
            if query.kind == "select":  # one that is scraped more rarely is in few windows
                series = self.client.series_at(query, end_ms)
        except QueryTooLarge as error:
            return warning(f"a window is split, which takes longer: {error}", "divide the query")
        cost = (
            f"{thousands(series)} series; a window of {format_duration(length_ms)}: "
            f"{thousands(samples)} samples, {seconds:.2f} s, {thousands(size)} bytes"
        )
        if seconds * 1000 > MOST_OF_INTERVAL * length_ms:
            do = "record it by a rule, divide it, or let pipeline.interval_seconds be longer"
            return warning(f"{cost}: it takes much of the time that it is of", do)
        return ok(cost)

    def tiers(self, one: RolledUp) -> Iterator[Said]:
        """Whether rollups have samples, and aggregates have a meaning."""
        problems = list(one.too_fine(self.client, self._scrape_settings()))
        for problem in problems:
            yield failure(problem, "let the tier be coarser, or scrape the job more often")
        if odd := one.of_gauges(self.client):
            yield warning(odd, "give the query aggregates without increase")
        elif not problems:
            yield ok(f"{', '.join(one.rollups)} can be made of its samples")

    def _scrape_settings(self) -> ScrapeSettings:
        if self._scraped is None:
            self._scraped = self.client.scrape_settings()
        return self._scraped
