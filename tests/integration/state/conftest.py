"""Contract tests run twice: on real Redis, and on the twins in memory."""

from __future__ import annotations

import pytest

from tests.integration.state.worlds import FakeClock, MemoryWorld, RedisWorld, Windows, World


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "redis"])
def world(request: pytest.FixtureRequest, clock: FakeClock) -> World:
    if request.param == "memory":
        return MemoryWorld(clock)
    redis: RedisWorld = request.getfixturevalue("redis_world")
    return redis


@pytest.fixture
def redis_world(request: pytest.FixtureRequest, clock: FakeClock) -> RedisWorld:
    return RedisWorld(request.getfixturevalue("redis_client"), clock)


@pytest.fixture
def windows(world: World) -> Windows:
    return world.windows()
