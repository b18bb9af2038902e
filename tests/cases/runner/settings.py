"""A case's fragment of etl.yaml, completed by where the servers are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from common.config import Settings, load_settings
from tests.cases.runner.case import Case
from tests.doubles.influx_engine import ORG, TOKEN


def settings_of(
    case: Case, folder: Path, *, prometheus: str, influxdb: str, redis: str, namespace: str
) -> Settings:
    """The settings, read as a file; ``prometheus``, ``influxdb`` and ``redis`` are URLs.

    Raises :class:`common.errors.ConfigError`.
    """
    places: dict[str, Any] = {
        "extract": {"prometheus_url": prometheus},
        "load": {"influxdb": {"url": influxdb, "token": TOKEN, "org": ORG, "bucket": case.slug}},
        "pipeline": {"redis_url": redis, "redis_namespace": namespace},
    }
    file = folder / "etl.yaml"
    file.write_text(yaml.safe_dump(_merged(case.config, places)), encoding="utf-8")
    return load_settings(file, {})


def _merged(lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    """Both; where both say something, ``upper`` counts."""
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _merged(below, value) if both and below else value
    return merged
