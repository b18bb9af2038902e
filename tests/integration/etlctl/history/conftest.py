"""A Prometheus that holds six hours of history, and nothing later."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from redis import Redis

from devtools.servers.binaries import Toolbox
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.redis_server import RedisServer
from tests.integration.etlctl.history.world import HOUR_MS, World, history_of


class Past(NamedTuple):
    """The source has samples of ``(first_ms, end_ms]``."""

    server: PrometheusServer
    first_ms: int
    end_ms: int


@pytest.fixture(scope="package")
def past(
    toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory, log_dir: Path
) -> Iterator[Past]:
    end_ms = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS - 4 * HOUR_MS
    first_ms = end_ms - 6 * HOUR_MS
    work_dir = tmp_path_factory.mktemp("past")
    server = PrometheusServer(toolbox, work_dir, name="past", log_dir=log_dir)
    server.backfill(history_of(first_ms, end_ms))
    with server.start():
        yield Past(server, first_ms, end_ms)


@pytest.fixture
def world(
    past: Past,
    redis_client: Redis,
    redis_server: RedisServer,
    redis_namespace: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> World:
    return World(
        redis=redis_client,
        redis_url=redis_server.plain_url,
        namespace=redis_namespace,
        directory=tmp_path,
        capsys=capsys,
        source_url=past.server.url,
        first_ms=past.first_ms,
        origin_ms=past.end_ms,
    )
