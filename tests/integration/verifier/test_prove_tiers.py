"""The verifier proves the feeds of every tier, each by itself."""

from __future__ import annotations

from redis import Redis

from common.state.feeds import Feed
from tests.integration.etlctl.verify.tiers.test_damage import altered_field
from tests.integration.etlctl.verify.tiers.warm import Warm
from tests.integration.etlctl.verify.world import World
from tests.integration.verifier.prover_rig import Rig

WARM = Feed("raw", "warm", "select", "f")


def test_a_feed_of_a_rollup_is_proven_and_what_differs_of_it_told(
    world: World, redis_client: Redis
) -> None:
    database = f"{world.database}_warm"
    world.influx.query(f'CREATE DATABASE "{database}"')
    warm = Warm(world, database)
    warm.fill()
    altered_field(warm)
    rig = Rig(world, redis_client)
    rig.windows.plan(WARM, world.start_ms, world.end_ms, adopt=True)
    window = rig.windows.lease(WARM, "live", 10**12, 10**9)
    assert window is not None
    rig.windows.commit(WARM, window, [])

    rig.turn()
    rig.turn()

    labels = {"query": "raw", "tier": "warm"}
    assert rig.value("etl_verified_timestamp_seconds", **labels) == world.end_ms / 1000
    assert rig.value("etl_verify_differing_points", **labels) == 1
    (told,) = rig.events("verify_differs")
    assert (told["tier"], told["points"], told["different"]) == ("warm", 1, 1)
