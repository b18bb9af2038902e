"""A rig with an HA pair as its source: two Prometheus that scrape the same load, one source."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from common.state.history import ReplicasRead, Stretch
from common.state.ranges import without
from devtools.chaos.comparing import Compare, Reader
from devtools.chaos.rig import DELAY_SECONDS, KEYS, Rig
from devtools.chaos.worlds.either import compare_with_either, each_source
from devtools.servers.ports import HOST
from devtools.servers.prometheus_server import PrometheusServer, ScrapeJob
from devtools.servers.stack import MODULES, SIMULATOR_JOB
from services.verifier.source import SourceSeries
from services.verifier.wiring import HOT

FIRST, SECOND = "prometheus", "second"
# Which replica a target was scraped by; a rule takes it off again.
LABEL = "replica"


class PairRig(Rig):
    """Each replica has its proxy; both hold the past. There is no other tier than hot."""

    more_proxies: ClassVar = (SECOND,)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        stack = self.stack
        first = stack.prometheus
        jobs = first.jobs
        self.second = PrometheusServer(
            self.toolbox,
            stack.run_dir / "data" / SECOND,
            name=SECOND,
            log_dir=stack.log_dir,
            jobs=_labelled(jobs, SECOND),
            scrape_interval_seconds=first.scrape_interval_seconds,
        )
        first.jobs = _labelled(jobs, FIRST)
        self.servers: Mapping[str, PrometheusServer] = {FIRST: first, SECOND: self.second}
        self._read: dict[str, Sequence[Stretch]] = {}

    @property
    def compare(self) -> Compare:
        """See the rig's."""
        return compare_with_either

    def config(self) -> dict[str, Any]:
        """Two replicas in the place of one server, one tier, and a rule."""
        config = super().config()
        extract = config["extract"]
        extract["prometheus_url"] = None
        extract["replicas"] = [
            f"http://{HOST}:{self.proxies.ports[name]}" for name in (FIRST, SECOND)
        ]
        for query in extract["queries"]:
            query.pop("aggregates", None)
            query["tiers"] = [HOT]
        del config["load"]["tiers"]["warm"]
        config["transform"] = {"relabel": [{"action": "labeldrop", "regex": LABEL}]}
        return config

    def direct_environ(self) -> dict[str, str]:
        """See the rig's."""
        environ = super().direct_environ()
        urls = [server.url for server in self.servers.values()]
        return {**environ, "ETL__EXTRACT__REPLICAS": json.dumps(urls)}

    def prometheus_servers(self) -> Sequence[PrometheusServer]:
        """Both replicas."""
        return list(self.servers.values())

    def start_services(self) -> None:
        """The second replica, then the services, which both scrape."""
        stack = self.stack
        self.second.start()
        port, delay_seconds = self.second.port, DELAY_SECONDS["prometheus"]
        self.proxies.send(SECOND, "point", port=port, delay_seconds=delay_seconds)
        self.second.set_targets(SIMULATOR_JOB, [stack.simulator.address])
        super().start_services()
        for module in MODULES:
            self.second.set_targets(module, [one.address for one in stack.services[module]])

    def stop(self) -> None:
        """See the rig's."""
        self.second.close()
        super().stop()

    def last_problems(self) -> list[str]:
        """Remember which replica each time was read from; both must have been."""
        record = ReplicasRead(self.redis, KEYS)
        self._read = {feed: record.of(feed) for feed in self.feeds()}
        urls = {url for stretches in self._read.values() for *_, url in stretches}
        return [] if len(urls) == len(self.servers) else [f"samples were read only from {urls}"]

    def source_of_feed(self, feed: str) -> Reader:
        """Both replicas, each of the time that was read from it, as Redis says."""
        sources = each_source(self.settings)
        by_url = {
            f"http://{HOST}:{self.proxies.ports[name]}": source
            for name, source in zip(self.servers, sources, strict=True)
        }
        stretches = [(start, end, by_url[url]) for start, end, url in self._read.get(feed, ())]
        return AsRead(sources, stretches)


class AsRead:
    """Replicas, each of the stretches that were read from it; the first of all other time."""

    def __init__(
        self, sources: Sequence[Reader], stretches: Iterable[tuple[int, int, Reader]]
    ) -> None:
        self._sources = sources
        self._stretches = list(stretches)

    def read_select(self, selector: str, start_ms: int, end_ms: int) -> list[SourceSeries]:
        """As :meth:`Reader.read_select`."""
        return [
            series
            for source, start, end in self._parts(start_ms, end_ms)
            for series in source.read_select(selector, start, end)
        ]

    def read_expr(self, expr: str, step_ms: int, start_ms: int, end_ms: int) -> list[SourceSeries]:
        """As :meth:`Reader.read_expr`."""
        return [
            series
            for source, start, end in self._parts(start_ms, end_ms)
            for series in source.read_expr(expr, step_ms, start, end)
        ]

    def close(self) -> None:
        """Close all connections."""
        for source in self._sources:
            source.close()

    def _parts(self, start_ms: int, end_ms: int) -> Iterator[tuple[Reader, int, int]]:
        known = []
        for start, end, source in self._stretches:
            part = max(start, start_ms), min(end, end_ms)
            if part[0] < part[1]:
                known.append(part)
                yield source, *part
        for start, end in without([(start_ms, end_ms)], known):
            yield self._sources[0], start, end


def _labelled(jobs: Iterable[ScrapeJob], name: str) -> tuple[ScrapeJob, ...]:
    """The jobs, whose targets get a label that says which replica it is."""
    rule = {"target_label": LABEL, "replacement": name}
    return tuple(replace(job, settings={**job.settings, "relabel_configs": [rule]}) for job in jobs)
