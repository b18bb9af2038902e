"""The history of ``etlctl verify``'s tests, in a Prometheus of this package's own."""

import pytest
from redis import Redis

from tests.integration.etlctl.verify.conftest import prometheus, start_ms, world
from tests.integration.etlctl.verify.world import World
from tests.integration.verifier.prover_rig import Rig

__all__ = ["prometheus", "start_ms", "world"]


@pytest.fixture
def rig(world: World, redis_client: Redis) -> Rig:
    return Rig(world, redis_client)
