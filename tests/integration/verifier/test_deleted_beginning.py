"""The verifier where Prometheus has deleted a part of what an expression looked at."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.integration.etlctl.verify.test_deleted_beginning import COUNT, WINDOW_MS, load, written
from tests.integration.etlctl.verify.world import STEP_MS, World
from tests.integration.verifier.prover_rig import Rig


def test_it_is_unproven_up_to_where_the_source_is_whole(world: World, redis_client: Redis) -> None:
    world.queries = [COUNT]
    rig = Rig(world, redis_client)
    load(redis_client, world, "counted")
    written(world)

    rig.turn()
    rig.turn()

    labels = {"query": "counted", "tier": "hot"}
    assert rig.events("verify_differs") == []
    assert rig.value("etl_verify_differing_points", **labels) == 0
    told = rig.events("verify_unproven")
    assert told[-1]["end_ms"] == world.start_ms + STEP_MS + WINDOW_MS
    verified_seconds = rig.value("etl_verified_timestamp_seconds", **labels)
    assert verified_seconds == pytest.approx(world.end_ms / 1000)
