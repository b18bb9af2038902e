"""The world with a warm tier: filled by the test itself, or by the stages of a pipeline."""

from __future__ import annotations

import pytest
import redis

from tests.integration.etlctl.verify.tiers.stages import Stages, warm_tier
from tests.integration.etlctl.verify.tiers.warm import Warm
from tests.integration.etlctl.verify.world import World


@pytest.fixture
def warm(world: World) -> Warm:
    """The world with a warm tier that holds what it should, and its seals."""
    database = f"{world.database}_warm"
    world.influx.query(f'CREATE DATABASE "{database}"')
    made = Warm(world, database)
    made.fill()
    return made


@pytest.fixture
def stages(world: World, redis_client: redis.Redis) -> Stages:
    """The stages of a warm tier, with nothing extracted yet."""
    world.influx.query(f'CREATE DATABASE "{warm_tier(world)}"')
    return Stages(world, redis_client)
