"""Targets that export every metric of the project, with the values of a pipeline in good health.

For tests of rules and dashboards that need a Prometheus but no pipeline. A test names the metrics
that are unhealthy.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from common.runtime.metrics_table import ETL_METRICS, METRICS, VERIFIER, MetricSpec

# Label → a value it may have, or several that then stand side by side.
_VALUES = {
    "stream": ("raw", "points"),
    "query": ("test_app", "request_rate"),
    "tier": ("hot",),
    "account": ("extracted", "loaded", "dropped", "dead_lettered", "in_flight"),
    "state": ("open", "closed"),
    "reason": ("beyond_retention", "some"),
}
# What grows while all is well; every other counter stands still.
_GROWING = (
    "etl_records_total",
    "etl_files_total",
    "etl_settled_samples_total",
    "etl_loaded_samples_total",
    "etl_extracted_samples_total",
    "etl_windows_committed_total",
    "etl_sink_posts_total",
    "etl_sink_posted_bytes_total",
    "etl_log_lines_total",
)
_ONE = (
    "etl_health_status",
    "etl_redis_up",
    "etl_redis_aof_ok",
    "etl_log_up",
    "etl_workers",
    "etl_config_last_reload_successful",
)
_RATE_PER_SECOND = 10.0


class HealthyMetrics(Collector):
    """The metrics of one service."""

    def __init__(self, service: str) -> None:
        self._specs = [spec for spec in METRICS if service in spec.services]
        self._grown: dict[str, float] = {}
        self._seen = time.monotonic()

    def describe(self) -> Iterable[Metric]:
        """Nothing before the first scrape."""
        return []

    def collect(self) -> Iterable[Metric]:
        """What is so at this moment."""
        passed_seconds = time.monotonic() - self._seen
        self._seen += passed_seconds
        for spec in self._specs:
            yield self._family(spec, passed_seconds)

    def _family(self, spec: MetricSpec, passed_seconds: float) -> Metric:
        rate = _RATE_PER_SECOND if spec.name in _GROWING or spec.kind == "histogram" else 0.0
        grown = self._grown.get(spec.name, 0.0) + passed_seconds * rate
        self._grown[spec.name] = grown
        family: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
        if spec.kind == "histogram":
            family = HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)
            buckets = [(str(bound), grown) for bound in (*spec.buckets, "+Inf")]
            for labels in _combinations(spec.labels):
                family.add_metric(labels, buckets=buckets, sum_value=grown)
            return family
        if spec.kind == "counter":
            family = CounterMetricFamily(spec.name, spec.help, labels=spec.labels)
            value = grown
        else:
            family = GaugeMetricFamily(spec.name, spec.help, labels=spec.labels)
            value = self._gauge(spec.name)
        for labels in _combinations(spec.labels):
            family.add_metric(labels, value)
        return family

    def _gauge(self, name: str) -> float:
        if name in _ONE:
            return 1.0
        if name == "etl_current_rate_records_per_second":
            return _RATE_PER_SECOND
        if name == "etl_uptime_seconds":
            return 1e6
        if name.endswith("_timestamp_seconds"):
            return time.time() - 1.0
        return {"etl_redis_memory_used_bytes": 1e6, "etl_redis_memory_max_bytes": 1e9}.get(name, 0)


class Targets:
    """So many replicas of each service, served until closed; ``addresses`` are ``host:port``."""

    def __init__(self, replicas: Mapping[str, int]) -> None:
        self._stack = contextlib.ExitStack()
        self.addresses = {
            service: [self._serve(service) for _ in range(count)]
            for service, count in replicas.items()
        }

    def close(self) -> None:
        """Stop serving."""
        self._stack.close()

    def _serve(self, service: str) -> str:
        return self._stack.enter_context(_served(HealthyMetrics(service)))


@contextlib.contextmanager
def _served(collector: HealthyMetrics) -> Iterator[str]:
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _combinations(labels: tuple[str, ...]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for label in labels:
        values = _VALUES.get(label, ("some",))
        found = [[*begun, value] for begun in found for value in values]
    return found


# The stages as they are scaled, and the two that are single.
REPLICAS = {"extractor": 2, "transformer": 2, "loader": 2, VERIFIER: 1, ETL_METRICS: 1}
