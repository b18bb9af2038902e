"""Servers that speak Prometheus' API, each with the same history of six hours ago."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.servers.binaries import VICTORIA_METRICS, Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer, ScrapeJob
from devtools.servers.redis_server import RedisServer
from devtools.servers.victoria_metrics_server import VictoriaMetricsServer
from tests.integration.etlctl.verify.world import World

STEP_MS = 15_000
SAMPLES = 240
HOSTS = ("a", "b")

AnySource = PrometheusServer | VictoriaMetricsServer

KINDS = [
    "prometheus",
    pytest.param("victoria-metrics", marks=pytest.mark.victoria_metrics),
]


def victoria_metrics_of(folder: Path, log_dir: Path, *flags: str) -> VictoriaMetricsServer:
    """Out of a toolbox of its own: other tests unpack all that theirs has."""
    toolbox = Toolbox(sources=(VICTORIA_METRICS,))
    return VictoriaMetricsServer(toolbox, folder, log_dir=log_dir, flags=flags)


def history(start_ms: int) -> str:
    """As promtool takes it."""
    lines = ["# TYPE load gauge"]
    for host in HOSTS:
        series = f'load{{job="app",host="{host}"}}'
        lines += [f"{series} {n} {(start_ms + n * STEP_MS) // 1000}" for n in range(1, SAMPLES + 1)]
    return "\n".join([*lines, "# EOF", ""])


def prometheus_of(toolbox: Toolbox, folder: Path, log_dir: Path, start_ms: int) -> PrometheusServer:
    """One that holds the history, and takes no query of all of it."""
    flags = ("--query.max-samples=230",)
    prometheus = PrometheusServer(toolbox, folder, log_dir=log_dir, flags=flags)
    prometheus.backfill(history(start_ms))
    return prometheus


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
    if request.param == "prometheus":
        with prometheus_of(toolbox, folder, log_dir, start_ms) as prometheus:
            yield prometheus
        return
    with victoria_metrics_of(folder, log_dir, "-search.maxPointsPerTimeseries=40") as server:
        server.backfill(history(start_ms))
        yield server


@pytest.fixture(params=KINDS)
def live_source(
    request: pytest.FixtureRequest, toolbox: Toolbox, tmp_path: Path, log_dir: Path
) -> Iterator[AnySource]:
    """One of the test's own, which scrapes itself each second as job ``app``."""
    folder = tmp_path / "live"
    if request.param == "prometheus":
        jobs = (ScrapeJob("app"),)
        with PrometheusServer(toolbox, folder, log_dir=log_dir, jobs=jobs) as prometheus:
            prometheus.set_targets("app", [f"127.0.0.1:{prometheus.port}"])
            yield prometheus
        return
    server = victoria_metrics_of(folder, log_dir)
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
