"""How a metric is defined: its kind, labels, and the services that export it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

EXTRACTOR, TRANSFORMER, LOADER = "extractor", "transformer", "loader"
VERIFIER = "verifier"
STAGES = (EXTRACTOR, TRANSFORMER, LOADER)
CONSUMERS = (TRANSFORMER, LOADER)
# Exports what no single process knows: the ledger in Redis, and the simulated ETL process.
ETL_METRICS = "etl-metrics"
# The simulator, by the name of its scrape job: its ETL process exports its own metrics, too.
TEST_APP = "test-app"

# Labels of what is counted for each query and tier.
FEED = ("query", "tier")

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric; ``services`` are those that export it, by the names of their scrape jobs.

    They do so from their start, unless ``eager`` is False: a 0 that nobody has read yet would be
    wrong, so the metric appears when it is first set.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    services: tuple[str, ...] = STAGES
    buckets: tuple[float, ...] = ()
    eager: bool = True


def counter(name: str, help_: str, *labels: str, services: tuple[str, ...] = STAGES) -> MetricSpec:
    """A counter; its name ends in ``_total``."""
    return MetricSpec(name, "counter", help_, labels, services)


def gauge(name: str, help_: str, *labels: str, services: tuple[str, ...] = STAGES) -> MetricSpec:
    """A gauge."""
    return MetricSpec(name, "gauge", help_, labels, services)


def histogram(
    name: str, help_: str, *labels: str, services: tuple[str, ...] = STAGES
) -> MetricSpec:
    """A histogram of seconds."""
    return MetricSpec(name, "histogram", help_, labels, services, SECONDS_BUCKETS)
