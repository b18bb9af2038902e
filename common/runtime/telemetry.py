"""One place to log and to count: names come from the tables, never from the caller's mind."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from common.runtime.events_table import EVENTS
from common.runtime.logs import EventLog
from common.runtime.metrics.spec import FEED
from common.runtime.metrics.zeros import known_labels
from common.runtime.metrics_table import METRICS, MetricSpec

_SPECS = {spec.name: spec for spec in METRICS}
_Metric = Counter | Gauge | Histogram

RECENT_SECONDS = 60


class Telemetry:
    """The metrics and the log of one process.

    ``clock`` gives seconds and never runs backwards; only differences are used. A name that is in
    no table, or labels that are not the table's, raise :class:`KeyError`: a defect of the caller.
    """

    def __init__(
        self,
        service: str,
        registry: CollectorRegistry | None = None,
        clock: Callable[[], float] = time.monotonic,
        logger: Any = None,
    ) -> None:
        # A second series for each counter, with its time of birth, that nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.service = service
        self.registry = registry if registry is not None else CollectorRegistry()
        self._log = logger if logger is not None else EventLog()
        self._lock = threading.Lock()
        self._metrics: dict[str, _Metric] = {}
        for spec in METRICS:
            if service in spec.services and spec.eager:
                metric = self._metrics[spec.name] = self._make(spec)
                for labels in known_labels(spec, service):
                    metric.labels(**labels)
        self._throughput = ThroughputWindow(clock)
        self._healthy: Callable[[], bool] = lambda: True
        for name, read in {
            "etl_current_rate_records_per_second": self._throughput.rate,
            "etl_avg_processing_time_seconds": self._throughput.average_seconds,
            "etl_seconds_since_last_success": self._throughput.seconds_since_success,
            "etl_uptime_seconds": self._throughput.uptime_seconds,
            "etl_health_status": lambda: float(self._healthy()),
        }.items():
            gauge = self._metrics.get(name)
            if isinstance(gauge, Gauge):
                gauge.set_function(read)

    def emit(self, event: str, /, amount: float = 1, **fields: Any) -> None:
        """Write an event's log line with ``fields`` and raise its counter by ``amount``."""
        spec = EVENTS[event]
        if spec.metric is not None:
            labels = {label: str(fields[label]) for label in spec.labels}
            self.inc(spec.metric, amount, **labels)
            if amount != 1:
                fields.setdefault("amount", amount)
        getattr(self._log, spec.level)(event, **fields)

    def inc(self, metric: str, /, amount: float = 1, **labels: str) -> None:
        """Raise a counter."""
        found = self._child(metric, labels)
        if not isinstance(found, Counter):
            raise KeyError(f"{metric} is not a counter")
        found.inc(amount)

    def set(self, metric: str, /, value: float, **labels: str) -> None:
        """Set a gauge."""
        found = self._child(metric, labels)
        if not isinstance(found, Gauge):
            raise KeyError(f"{metric} is not a gauge")
        found.set(value)

    def observe(self, metric: str, /, value: float, **labels: str) -> None:
        """Add an observation to a histogram."""
        found = self._child(metric, labels)
        if not isinstance(found, Histogram):
            raise KeyError(f"{metric} is not a histogram")
        found.observe(value)

    def batch_succeeded(self, samples: int, duration_seconds: float) -> None:
        """Count a batch in the nine metrics that all stages share."""
        self.inc("etl_records_total", samples)
        self.inc("etl_files_total")
        self._throughput.success(samples, duration_seconds)

    def batch_failed(self, error_type: str) -> None:
        """Count a failed batch; ``error_type`` is a class name or another short, stable word."""
        self.inc("etl_failures_total")
        self.inc("etl_errors_by_type_total", error_type=error_type)

    def expect_feeds(self, feeds: Iterable[tuple[str, str]]) -> None:
        """Begin what is counted for each of these feeds (query, tier) at 0."""
        counted = [s for s in METRICS if self.service in s.services and {*FEED} <= {*s.labels}]
        for query, tier in feeds:
            for spec in counted:
                for labels in known_labels(spec, self.service, {"query": query, "tier": tier}):
                    self._child(spec.name, labels)

    def values(self, names: Iterable[str]) -> dict[str, float]:
        """The series without labels of these names, as a scrape has them; one that is not is left
        out.
        """
        wanted = self.registry.restricted_registry(list(names))
        return {
            sample.name: sample.value
            for family in wanted.collect()
            for sample in family.samples
            if not sample.labels
        }

    def uptime_seconds(self) -> float:
        """Seconds since this object was made."""
        return self._throughput.uptime_seconds()

    def watch_health(self, healthy: Callable[[], bool]) -> None:
        """Set the function that ``etl_health_status`` calls at each scrape."""
        self._healthy = healthy

    def _child(self, name: str, labels: dict[str, str]) -> _Metric:
        spec = self._checked(name, labels)
        metric = self._metrics.get(name)
        if metric is None:
            # Not one that this service exports from its start, but true all the same.
            with self._lock:
                metric = self._metrics.get(name) or self._make(spec)
                self._metrics[name] = metric
        return metric.labels(**labels) if spec.labels else metric

    def _checked(self, name: str, labels: dict[str, str]) -> MetricSpec:
        spec = _SPECS[name]
        if labels.keys() != set(spec.labels):
            raise KeyError(f"{name} has the labels {spec.labels}, not {tuple(labels)}")
        return spec

    def _make(self, spec: MetricSpec) -> _Metric:
        if spec.kind == "counter":
            return Counter(spec.name, spec.help, spec.labels, registry=self.registry)
        if spec.kind == "gauge":
            return Gauge(spec.name, spec.help, spec.labels, registry=self.registry)
        return Histogram(
            spec.name, spec.help, spec.labels, registry=self.registry, buckets=spec.buckets
        )


class ThroughputWindow:
    """How fast and how lately batches succeed; read at scrape time, so it ages by itself."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._started = clock()
        self._succeeded: float | None = None
        # One element for each second that saw a batch: [second, samples, batches, their seconds].
        self._seconds: deque[list[float]] = deque()
        self._average = 0.0

    def success(self, samples: int, duration_seconds: float) -> None:
        """Count a batch at this instant."""
        now = self._clock()
        with self._lock:
            self._succeeded = now
            if not self._seconds or self._seconds[-1][0] != now // 1:
                self._seconds.append([now // 1, 0.0, 0.0, 0.0])
            latest = self._seconds[-1]
            latest[1] += samples
            latest[2] += 1
            latest[3] += duration_seconds
            self._prune(now)
            self._average = self._mean()

    def rate(self) -> float:
        """Samples a second over the last minute, or since the start if that is less."""
        now = self._clock()
        with self._lock:
            self._prune(now)
            span = min(RECENT_SECONDS, max(1.0, now - self._started))
            return sum(second[1] for second in self._seconds) / span

    def average_seconds(self) -> float:
        """Mean duration of a minute's batches; the last known one when there were none."""
        with self._lock:
            self._prune(self._clock())
            return self._mean() if self._seconds else self._average

    def seconds_since_success(self) -> float:
        """Seconds since the latest success, or since the start."""
        since = self._started if self._succeeded is None else self._succeeded
        return max(0.0, self._clock() - since)

    def uptime_seconds(self) -> float:
        """Seconds since the start."""
        return max(0.0, self._clock() - self._started)

    def _mean(self) -> float:
        batches = sum(second[2] for second in self._seconds)
        return sum(second[3] for second in self._seconds) / batches

    def _prune(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] <= now - RECENT_SECONDS:
            self._seconds.popleft()
