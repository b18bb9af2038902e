"""The etl.yaml of a local stack: the project's own, with other addresses and a quicker pace."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.errors import StackError


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly a local stack moves; production scrapes every 15 s.

    ``settle_seconds`` follows DESIGN's rule for this scrape interval: 1.1 intervals, plus the
    scrape time-out (at most one interval), plus the delay of rule evaluation (there are no rules).
    """

    scrape_interval_seconds: float = 1.0
    interval_seconds: float = 2.0
    step_seconds: float = 1.0
    settle_seconds: float = 2.5
    initial_lookback_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the servers of a stack are, and the files that hold their secrets."""

    prometheus_url: str
    redis_url: str
    redis_password_file: Path
    influxdb_url: str
    influxdb_token_file: Path
    prometheus_username: str | None = None
    prometheus_password_file: Path | None = None


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; raises :class:`StackError` if there is none."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise StackError(f"{path}: {error}") from error
    if not isinstance(loaded, dict):
        raise StackError(f"{path}: not a mapping")
    return loaded


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, mapping by mapping; None removes a key, lists are replaced."""
    for key, value in over.items():
        if value is None:
            base.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = copy.deepcopy(value)
    return base


def stack_config(
    base: Mapping[str, Any],
    endpoints: Endpoints,
    pace: Pace,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """``base`` (an etl.yaml) with the stack's addresses and pace, then ``overrides``.

    Queries, filters and limits are the base's own. Its tiers are left out, because a window of
    theirs is an hour long, which nobody waits for here: ``overrides`` may bring others. In
    ``overrides`` None removes a key.
    """
    config: dict[str, Any] = copy.deepcopy(dict(base))
    auth: dict[str, str] | None = None
    if endpoints.prometheus_username is not None:
        auth = {
            "username": endpoints.prometheus_username,
            "password_file": str(endpoints.prometheus_password_file),
        }
    # Whole, not key by key: the base may carry another kind of credentials.
    config.setdefault("extract", {}).pop("auth", None)
    _merge(
        config,
        {
            "extract": {
                "prometheus_url": endpoints.prometheus_url,
                "timeout": 10,
                "auth": auth,
                "settle_seconds": pace.settle_seconds,
                "initial_lookback_seconds": pace.initial_lookback_seconds,
            },
            "load": {
                "influxdb": {
                    "url": endpoints.influxdb_url,
                    "token": None,
                    "token_file": str(endpoints.influxdb_token_file),
                },
                "tiers": None,
            },
            "pipeline": {
                "interval_seconds": pace.interval_seconds,
                "redis_url": endpoints.redis_url,
                "redis_password": None,
                "redis_password_file": str(endpoints.redis_password_file),
                "log_file": None,
                "http_host": None,
                "http_port": None,
            },
        },
    )
    for query in config["extract"].get("queries", ()):
        if "step" in query:
            query["step"] = pace.step_seconds
    return _merge(config, overrides or {})


def buckets_of(config: Mapping[str, Any]) -> list[str]:
    """Every bucket that an etl.yaml names."""
    load = config.get("load", {})
    names = [load.get("influxdb", {}).get("bucket")]
    names += [tier.get("bucket") for tier in load.get("tiers", {}).values()]
    return sorted({name for name in names if name})
