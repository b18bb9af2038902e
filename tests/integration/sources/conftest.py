"""Servers that speak Prometheus' API, each with the same history of six hours ago."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer, ScrapeJob
from devtools.servers.redis_server import RedisServer
from devtools.servers.victoria_metrics_server import VictoriaMetricsServer
from tests.integration.etlctl.verify.world import World

STEP_MS = 15_000
SAMPLES = 240
HOSTS = ("a", "b")

AnySource = PrometheusServer | VictoriaMetricsServer
MakeSource = Callable[..., AnySource]

KINDS = [
    "prometheus",
    pytest.param("victoria-metrics", marks=pytest.mark.victoria_metrics),
]


@pytest.fixture(scope="package")
def start_ms() -> int:
    """Old enough to be backfilled."""
    return (int(time.time()) // 3_600 - 6) * 3_600_000


@pytest.fixture(scope="package", params=KINDS)
def source(
    request: pytest.FixtureRequest,
    toolbox: Toolbox,
    tmp_path_factory: pytest.TempPathFactory,
    log_dir: Path,
    start_ms: int,
) -> Iterator[AnySource]:
    """Two series of whole numbers, which every one of them keeps exactly.

    All of it is too large for one query: of samples for Prometheus, of points for VictoriaMetrics.
    """
    folder = tmp_path_factory.mktemp("source")
    lines = ["# TYPE load gauge"]
    for host in HOSTS:
        series = f'load{{job="app",host="{host}"}}'
        lines += [f"{series} {n} {(start_ms + n * STEP_MS) // 1000}" for n in range(1, SAMPLES + 1)]
    text = "\n".join([*lines, "# EOF", ""])
    if request.param == "prometheus":
        prometheus = PrometheusServer(
            toolbox, folder, log_dir=log_dir, flags=("--query.max-samples=230",)
        )
        prometheus.backfill(text)
        with prometheus:
            yield prometheus
        return
    flags = ("-search.maxPointsPerTimeseries=40",)
    with VictoriaMetricsServer(toolbox, folder, log_dir=log_dir, flags=flags) as victoria_metrics:
        victoria_metrics.backfill(text)
        yield victoria_metrics


@pytest.fixture(params=KINDS)
def live_source(
    request: pytest.FixtureRequest, toolbox: Toolbox, tmp_path: Path, log_dir: Path
) -> Iterator[AnySource]:
    """One of the test's own, which scrapes itself each second as job ``app``."""
    options: dict[str, Any] = {"log_dir": log_dir}
    server: AnySource
    if request.param == "prometheus":
        jobs = (ScrapeJob("app"),)
        server = PrometheusServer(toolbox, tmp_path / "live", jobs=jobs, **options)
        server.set_targets("app", [f"127.0.0.1:{server.port}"])
    else:
        server = VictoriaMetricsServer(toolbox, tmp_path / "live", **options)
        server.set_targets([f"127.0.0.1:{server.port}"])
    with server:
        yield server


@pytest.fixture
def world(
    source: AnySource,
    influx_server: InfluxServer,
    influx_database: str,
    redis_server: RedisServer,
    redis_namespace: str,
    tmp_path: Path,
    start_ms: int,
) -> World:
    """``etlctl verify`` between this source and an empty database."""
    return World(
        source, influx_server, redis_server, influx_database, redis_namespace, tmp_path, start_ms
    )
