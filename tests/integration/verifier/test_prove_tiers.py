"""The verifier proves the feeds of every tier, each by itself."""

from __future__ import annotations

import pytest
from redis import Redis

from common.state.feeds import Feed
from common.state.keys import split_feed
from common.state.proven import FeedProof
from services.verifier.proving.pieces import PieceLengths
from services.verifier.run import Verifier
from tests.integration.etlctl.verify.tiers.test_damage import altered_field
from tests.integration.etlctl.verify.tiers.warm import Warm
from tests.integration.etlctl.verify.world import World
from tests.integration.verifier.prover_rig import Rig

WARM = Feed("raw", "warm", "select", "f")
PIECE_MS = 300_000
PIECES = 13  # of the world's hour and a quarter of a minute


@pytest.fixture
def warm(world: World) -> Warm:
    database = f"{world.database}_warm"
    world.influx.query(f'CREATE DATABASE "{database}"')
    warm = Warm(world, database)
    warm.fill()
    return warm


def load_warm(rig: Rig) -> None:
    rig.windows.plan(WARM, rig.world.start_ms, rig.world.end_ms, adopt=True)
    window = rig.windows.lease(WARM, "live", 10**12, 10**9)
    assert window is not None
    rig.windows.commit(WARM, window, [])


def test_a_feed_of_a_rollup_is_proven_and_what_differs_of_it_told(
    warm: Warm, redis_client: Redis
) -> None:
    world = warm.world
    altered_field(warm)
    rig = Rig(world, redis_client)
    load_warm(rig)

    rig.turn()
    rig.turn()

    labels = {"query": "raw", "tier": "warm"}
    assert rig.value("etl_verified_timestamp_seconds", **labels) == world.end_ms / 1000
    assert rig.value("etl_verify_differing_points", **labels) == 1
    (told,) = rig.events("verify_differs")
    assert (told["tier"], told["points"], told["different"]) == ("warm", 1, 1)


class Slow:
    """A prover of which each piece takes a while; of which tiers there were pieces."""

    def __init__(self, rig: Rig, piece_seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(PieceLengths, "of", lambda *_: PIECE_MS)
        self.tiers: list[str] = []
        now_seconds = 1000.0
        compare = rig.prover._compare

        def compared(one: Verifier, proof: FeedProof, start_ms: int, end_ms: int) -> int:
            nonlocal now_seconds
            now_seconds += piece_seconds
            self.tiers.append(split_feed(proof.feed.name)[1])
            return compare(one, proof, start_ms, end_ms)

        monkeypatch.setattr(rig.prover, "_compare", compared)
        rig.prover.clock = lambda: now_seconds


def test_a_tier_has_its_share_while_another_has_much_to_do(
    warm: Warm, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(warm.world, redis_client)
    rig.world.write(rig.world.expected())
    rig.load_up_to(rig.world.end_ms)
    load_warm(rig)
    slow = Slow(rig, 25, monkeypatch)
    rig.prover.turn()
    assert slow.tiers == ["hot"] * 3 + ["warm"] * 3
    while rig.prover._begin_at < 0:  # what is left is due at once
        rig.prover.turn()
    rig.prover.turn()
    assert slow.tiers.count("hot") == PIECES
    for tier in ("hot", "warm"):
        labels = {"query": "raw", "tier": tier}
        verified_seconds = rig.value("etl_verified_timestamp_seconds", **labels)
        assert verified_seconds == rig.world.end_ms / 1000
        assert rig.value("etl_verify_differing_points", **labels) == 0


def test_a_tier_goes_on_where_nothing_else_is_due(
    warm: Warm, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(warm.world, redis_client)
    rig.world.write(rig.world.expected())
    rig.load_up_to(rig.world.end_ms)
    slow = Slow(rig, 50, monkeypatch)
    rig.prover.turn()
    assert slow.tiers == ["hot"] * 12
    rig.prover.turn()
    assert slow.tiers == ["hot"] * PIECES


def test_the_state_of_all_queries_is_not_read_for_each_of_them(rig: Rig) -> None:
    names = [f"q{number}" for number in range(10)]
    rig.world.queries = [{"name": name, "select": f'{{job="{name}"}}'} for name in names]
    rig.prover = rig.new_prover()
    for name in names:
        rig.load_up_to(rig.world.end_ms, feed=Feed(name, "hot", "select", "f"))
    rig.redis.config_resetstat()

    rig.turn()

    asked = rig.redis.info("commandstats")["cmdstat_zrange"]["calls"]
    assert asked < 800  # all of them for each piece and each query were some 1,500
    for name in names:
        assert rig.prover.record.read(f"{name}@hot") == {
            f"{name}@hot": rig.prover.record.read()[f"{name}@hot"]
        }
