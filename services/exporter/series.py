"""What is exported: pages of series, each replaced whole, so that none outlives what it speaks of.

The metrics themselves (kind, labels, help) are those of common/runtime/metrics_table.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from common.runtime.metrics_table import ETL_METRICS, METRICS, MetricSpec

_SPECS = {spec.name: spec for spec in METRICS if ETL_METRICS in spec.services}


class Page:
    """Series and their values; a name or labels that the table does not have are a KeyError."""

    def __init__(self) -> None:
        self.values: dict[str, dict[tuple[str, ...], float]] = {}

    def set(self, metric: str, /, value: float, **labels: str) -> None:
        """Give a gauge its value."""
        series, key = self._series(metric, "gauge", labels)
        series[key] = value

    def inc(self, metric: str, /, amount: float, **labels: str) -> None:
        """Add to a counter, which begins at 0 with each page."""
        series, key = self._series(metric, "counter", labels)
        series[key] = series.get(key, 0) + amount

    def add(self, other: Page) -> None:
        """Take over the series of another page."""
        for metric, series in other.values.items():
            self.values.setdefault(metric, {}).update(series)

    def _series(
        self, metric: str, kind: str, labels: Mapping[str, str]
    ) -> tuple[dict[tuple[str, ...], float], tuple[str, ...]]:
        spec = _SPECS[metric]
        if spec.kind != kind or labels.keys() != set(spec.labels):
            raise KeyError(f"{metric} is a {spec.kind} with the labels {spec.labels}")
        return self.values.setdefault(metric, {}), tuple(labels[name] for name in spec.labels)


class PublishedPage:
    """The latest page of a source that is read on a timer, until it is too old to be true."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._page: Page | None = None
        self._until = 0.0

    def publish(self, page: Page, valid_seconds: float) -> None:
        """Show this page instead of the one before, for so long at most."""
        self._page, self._until = page, self._clock() + valid_seconds

    def __call__(self) -> Page | None:
        """The page to show now, None if there is none."""
        return self._page if self._clock() <= self._until else None


class PageCollector(Collector):
    """Shows the pages that sources give at each scrape; a source without one shows nothing."""

    def __init__(self, sources: Iterable[Callable[[], Page | None]]) -> None:
        self._sources = tuple(sources)

    def describe(self) -> Iterable[Metric]:
        """All that may be shown, without values: what a scrape can choose from by name."""
        return [_family(spec) for spec in _SPECS.values()]

    def collect(self) -> Iterable[Metric]:
        """The series of this moment, in the order of the table."""
        pages = [page for source in self._sources if (page := source()) is not None]
        for name, spec in _SPECS.items():
            family = _family(spec)
            for page in pages:
                for labels, value in page.values.get(name, {}).items():
                    family.add_metric(labels, value)
            if family.samples:
                yield family


def _family(spec: MetricSpec) -> CounterMetricFamily | GaugeMetricFamily:
    if spec.kind == "counter":
        return CounterMetricFamily(spec.name, spec.help, labels=spec.labels)
    return GaugeMetricFamily(spec.name, spec.help, labels=spec.labels)
