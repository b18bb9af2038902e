"""Every duration is a number of seconds or a duration as in Prometheus, whatever its key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.config import Settings, effective
from tests.support.settings_files import PLAIN, load, problems

# One key of each kind of name; those of the first version have no unit in them.
KEYS = (
    "extract.timeout",
    "extract.settle_seconds",
    "extract.queries.0.step",
    "load.influxdb.timeout_seconds",
    "load.tiers.warm.retention",
    "load.tiers.warm.resolution",
    "pipeline.drain_seconds",
    "transform.max_future_seconds",
)


def written(key: str, value: object) -> str:
    """A file with ``value`` under ``key``."""
    query = {"name": "up_ratio", "expr": "avg(up)", "step": 4}
    warm = {"bucket": "w", "resolution": 7200, "aggregates": ["avg"]}
    tree: Any = {
        "extract": PLAIN["extract"] | {"queries": [query]},
        "transform": {},
        "load": PLAIN["load"] | {"tiers": {"warm": warm}},
        "pipeline": {},
    }
    tree["load"]["influxdb"] = dict(tree["load"]["influxdb"])
    *folders, last = key.split(".")
    place = tree
    for part in folders:
        place = place[int(part)] if part.isdigit() else place[part]
    place[last] = value
    return yaml.safe_dump(tree)


def found(settings: Settings, key: str) -> object:
    value: Any = effective(settings)
    for part in key.split("."):
        value = value[int(part)] if part.isdigit() else value[part]
    return value


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(("value", "seconds"), [(20, 20), ("20", 20), ("20s", 20), ("0m24s", 24)])
def test_both_ways_to_write_a_duration(
    tmp_path: Path, key: str, value: object, seconds: float
) -> None:
    assert found(load(tmp_path, written(key, value)), key) == seconds


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["soon", "1h2d", "-5", "1.5m", True, "300y"])
def test_a_bad_duration_is_refused_by_its_key(tmp_path: Path, key: str, value: object) -> None:
    first = key.replace(".0.", "[0].")
    assert any(f" {first}: " in line for line in problems(tmp_path, written(key, value)))


def test_every_key_that_says_seconds_is_a_duration() -> None:
    """A key with a unit in its name takes the same texts as one without."""

    def keys(model: Any) -> Iterator[tuple[str, Any]]:
        for name, field in model.model_fields.items():
            yield name, field
            for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if hasattr(part, "model_fields"):
                    yield from keys(part)

    named = [(name, field) for name, field in keys(Settings) if name.endswith("_seconds")]
    assert len(named) > 15
    for name, field in named:
        assert "Unit(name='duration')" in str(field.metadata), name
