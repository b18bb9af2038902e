"""Fixtures: configurations and runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.redis_server import server_program
from tests.integration.etlctl.run.rig import Run, folder_with_redis, write_config


@pytest.fixture
def path(toolbox: Toolbox, tmp_path: Path) -> str:
    """PATH with a redis-server."""
    folder = folder_with_redis(tmp_path / "bin", server_program(toolbox))
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def make_config(
    tmp_path: Path,
    prometheus_server: PrometheusServer,
    influx_server: InfluxServer,
    influx_database: str,
) -> Callable[..., Path]:
    """``make_config(**pipeline)`` → etl.yaml for the servers of this test."""

    def make(**pipeline: Any) -> Path:
        file = tmp_path / "etl.yaml"
        return write_config(
            file, prometheus_server.url, influx_server.url, influx_database, **pipeline
        )

    return make


@pytest.fixture
def make_run(path: str) -> Iterator[Callable[..., Run]]:
    """``make_run(config, *arguments)`` → a started ``etlctl run``."""
    made: list[Run] = []

    def make(config: Path, *arguments: str) -> Run:
        made.append(Run(config, path, *arguments))
        return made[-1]

    yield make
    for run in made:
        run.close()
