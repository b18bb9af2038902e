"""Tests of the alerts, as tables: given these series, this fires. promtool runs them."""

from __future__ import annotations

from monitoring.cases import (
    backlog,
    freshness,
    loss,
    process,
    redis,
    sink,
    source,
    stages,
    verification,
)
from monitoring.model import Case

# Test file → the rule file that it is about, and its cases.
CASES: dict[str, tuple[str, tuple[Case, ...]]] = {
    "process": ("etl-process", process.CASES),
    "stages": ("etl-pipeline", stages.CASES),
    "backlog": ("etl-pipeline", backlog.CASES),
    "loss": ("etl-pipeline", loss.CASES),
    "sink": ("etl-pipeline", sink.CASES),
    "source": ("etl-pipeline", source.CASES),
    "verification": ("etl-pipeline", verification.CASES),
    "redis": ("etl-pipeline", redis.CASES),
    "freshness": ("etl-freshness", freshness.CASES),
    "watchdog": ("etl-watchdog", freshness.WATCHDOG_CASES),
}
