"""The standard metrics of the simulated ETL process, read from it at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from common.runtime.metrics_table import STANDARD_METRICS
from services.simulator.process import Figures


class EtlCollector(Collector):
    """Exports ``figures``; ``healthy`` says what ``etl_health_status`` is."""

    def __init__(self, figures: Callable[[], Figures], healthy: Callable[[], bool]) -> None:
        self._figures = figures
        self._healthy = healthy

    def describe(self) -> Iterator[Metric]:
        """The names alone, for the registry."""
        for spec in STANDARD_METRICS:
            family = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
            yield family(spec.name, spec.help, labels=spec.labels)

    def collect(self) -> Iterator[Metric]:
        """One family for each of them."""
        figures = self._figures()
        values: dict[str, dict[tuple[str, ...], float]] = {
            "etl_records_total": {(): figures.records_total},
            "etl_files_total": {(): figures.files_total},
            "etl_failures_total": {(): figures.failures_total},
            "etl_current_rate_records_per_second": {(): figures.current_rate_records_per_second},
            "etl_avg_processing_time_seconds": {(): figures.avg_processing_time_seconds},
            "etl_seconds_since_last_success": {(): figures.seconds_since_last_success},
            "etl_health_status": {(): float(self._healthy())},
            "etl_uptime_seconds": {(): figures.uptime_seconds},
            "etl_errors_by_type_total": {
                (error_type,): count for error_type, count in figures.errors_by_type.items()
            },
        }
        for family, spec in zip(self.describe(), STANDARD_METRICS, strict=True):
            for labels, value in values[spec.name].items():
                family.add_metric(labels, value)  # type: ignore[attr-defined]
            yield family
