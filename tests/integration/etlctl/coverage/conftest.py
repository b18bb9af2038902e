"""A feed in a real Redis beside a real influxd."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from devtools.servers.influx_server import InfluxServer
from devtools.servers.redis_server import RedisServer
from tests.integration.etlctl.coverage.world import Capture, World


@pytest.fixture
def world(
    redis_client: redis.Redis,
    redis_server: RedisServer,
    influx_server: InfluxServer,
    influx_database: str,
    tmp_path: Path,
    capsys: Capture,
) -> World:
    return World(
        redis_client,
        redis_server.plain_url,
        influx_server.url,
        influx_database,
        tmp_path,
        capsys,
    )
