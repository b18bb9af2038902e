"""A pipeline with dead letters for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from devtools.servers.redis_server import RedisServer
from tests.integration.etlctl.dead_letters.world import World


@pytest.fixture
def world(
    redis_client: redis.Redis,
    redis_server: RedisServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> World:
    return World(redis_client, redis_server.plain_url, tmp_path, capsys)
