"""The deployment's own configuration at the pace of tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from devtools import PROJECT_ROOT
from devtools.servers.stack_config import Pace, read_config

PACE = Pace(scrape_interval_seconds=1.0, interval_seconds=2.0, settle_seconds=2.5)
REQUEST_SECONDS = 3.0
# The least that the settings allow.
LEASE_SECONDS = REQUEST_SECONDS + 5.0


def etl_config() -> dict[str, Any]:
    """The project's own etl.yaml at the pace of tests; addresses and secrets come from compose."""
    config = read_config(PROJECT_ROOT / "config" / "etl.yaml")
    config["extract"] |= {
        "timeout": REQUEST_SECONDS,
        "window_lease_seconds": LEASE_SECONDS,
        "settle_seconds": PACE.settle_seconds,
        "initial_lookback_seconds": PACE.initial_lookback_seconds,
        "backoff_base_seconds": 0.2,
        "backoff_max_seconds": 1,
    }
    for query in config["extract"]["queries"]:
        if "step" in query:
            query["step"] = PACE.step_seconds
    config["load"]["influxdb"]["timeout_seconds"] = REQUEST_SECONDS
    config["load"] |= {"backoff_base_seconds": 0.2, "backoff_max_seconds": 1}
    config["pipeline"] |= {
        "interval_seconds": PACE.interval_seconds,
        "entry_lease_seconds": LEASE_SECONDS,
        "watermark_seconds": 2,
    }
    return config


def prometheus_config(rendered: Path) -> dict[str, Any]:
    """The deployment's own prometheus.yml, scraping every second and looking for replicas so."""
    config: dict[str, Any] = yaml.safe_load(rendered.read_text(encoding="utf-8"))
    quick = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["global"] |= quick
    for job in config["scrape_configs"]:
        job.pop("scrape_interval", None)
        job.pop("scrape_timeout", None)
        for discovery in job.get("dns_sd_configs", ()):
            discovery["refresh_interval"] = "1s"
    return config
