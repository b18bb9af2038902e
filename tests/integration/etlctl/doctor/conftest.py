"""A world in which all is well."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until
from etlctl.doctor import prometheus, redis
from tests.integration.etlctl.doctor.world import World
from tests.support.secret_folders import Capture


@pytest.fixture(scope="session")
def source(prometheus_server: PrometheusServer) -> PrometheusServer:
    """A Prometheus that has scraped itself for longer than it settles."""
    wait_until(
        lambda: prometheus_server.query("up offset 15s"),
        deadline_seconds=90,
        what="Prometheus has scraped itself",
    )
    return prometheus_server


@pytest.fixture
def world(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: Capture,
    source: PrometheusServer,
    redis_server: RedisServer,
    influx_server: InfluxServer,
    influx_database: str,
) -> World:
    # How fast servers answer here says nothing.
    monkeypatch.setattr(redis, "SLOW_MS", inf)
    monkeypatch.setattr(prometheus, "MOST_OF_INTERVAL", inf)
    return World(
        tmp_path, capsys, source.url, redis_server.plain_url, influx_server.url, influx_database
    )
