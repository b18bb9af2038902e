"""A real Prometheus that holds one hour of history, beside a real influxd."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.redis_server import RedisServer
from tests.integration.etlctl.verify.world import World, open_metrics


@pytest.fixture(scope="package")
def start_ms() -> int:
    """Old enough to be backfilled."""
    return (int(time.time()) // 3_600 - 6) * 3_600_000


@pytest.fixture(scope="package")
def prometheus(
    toolbox: Toolbox,
    tmp_path_factory: pytest.TempPathFactory,
    log_dir: Path,
    start_ms: int,
) -> Iterator[PrometheusServer]:
    """A Prometheus that scrapes nothing and holds the history, and no older one.

    A worker that leaves the package and returns to it sets it up anew, maybe in another hour.
    """
    folder = tmp_path_factory.mktemp("prometheus-history")
    server = PrometheusServer(toolbox, folder, name="prometheus-history", log_dir=log_dir)
    server.backfill(open_metrics(start_ms))
    with server:
        yield server


@pytest.fixture
def world(
    prometheus: PrometheusServer,
    influx_server: InfluxServer,
    influx_database: str,
    redis_server: RedisServer,
    redis_namespace: str,
    tmp_path: Path,
    start_ms: int,
) -> World:
    return World(
        prometheus,
        influx_server,
        redis_server,
        influx_database,
        redis_namespace,
        tmp_path,
        start_ms,
    )
