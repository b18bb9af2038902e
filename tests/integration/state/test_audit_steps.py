"""An audit in several steps is as exact as one in a single step, whatever moves meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from redis import Redis

from common.state import stream as stream_module
from common.state.audit import AuditMovedError
from common.state.keys import POINTS, RAW
from common.state.ledger import Ledger
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import DeadLetter, Entry, Output, Settle
from devtools.servers.redis_server import RedisServer
from tests.integration.state.connection.test_redis_rights import denied, server_with
from tests.integration.state.worlds import FakeClock, RedisWorld, extract

STEP_ENTRIES = 4


class Moving:
    """A Redis client that lets something else happen before each script but the first."""

    def __init__(self, redis: Redis, meanwhile: Callable[[int], None] = lambda _: None) -> None:
        self._redis = redis
        self._meanwhile = meanwhile
        self.scripts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)

    def evalsha_ro(self, *args: Any) -> Any:
        if self.scripts:
            self._meanwhile(self.scripts)
        self.scripts += 1
        return self._redis.evalsha_ro(*args)


def ledger(world: RedisWorld, client: Any, most_entries: int = STEP_ENTRIES) -> Ledger:
    return Ledger(client, world.keys, now_ms=world.clock, most_entries=most_entries)


def read_all(stream: RedisStream) -> list[Entry]:
    return stream.read(1000, 0.01)


def fill(world: RedisWorld, raw: int = 30, points: int = 10) -> tuple[list[Entry], list[Entry]]:
    """Entries in hand of both streams, and as many raw ones that nobody has read."""
    transformer, loader = world.stream("t"), world.stream("l", POINTS)
    extract(world, [(b"a", 3)] * points)
    for entry in read_all(transformer):
        assert transformer.settle(entry, Settle([Output(b"p", 3)]), "t") is SettleResult.OK
    in_points = read_all(loader)
    extract(world, [(b"b", samples) for samples in range(1, raw + 1)])
    in_raw = read_all(transformer)
    extract(world, [(b"c", 7)] * raw)
    return in_raw, in_points


@pytest.mark.parametrize("seed", range(5))
def test_what_moves_between_the_steps_changes_nothing(redis_world: RedisWorld, seed: int) -> None:
    world, random = redis_world, Random(seed)
    in_raw, in_points = fill(world)
    transformer, loader = world.stream("t"), world.stream("l", POINTS)
    before = world.audit()
    assert (before.imbalance_samples, before.total.in_flight) == (0, 465 + 210 + 30)

    def meanwhile(_step: int) -> None:
        for _ in range(2):
            if in_raw:
                entry = in_raw.pop(random.randrange(len(in_raw)))
                verdict = random.choice(
                    [
                        Settle([Output(b"p", entry.samples)]),
                        Settle(drops={"nan": entry.samples}),
                        Settle(dead=[DeadLetter("rejected", "why", b"z", entry.samples)]),
                    ]
                )
                assert transformer.settle(entry, verdict, "t") is SettleResult.OK
            if in_points:
                entry = in_points.pop(random.randrange(len(in_points)))
                assert loader.settle(entry, Settle(loaded=3), "l") is SettleResult.OK
        extract(world, [(b"new", 11)])

    moving = Moving(world.redis, meanwhile)
    assert ledger(world, moving).audit() == before
    assert moving.scripts > 10
    after = world.audit()
    assert after.imbalance_samples == 0
    assert after.total.extracted > before.total.extracted
    assert not in_points


def test_a_loss_without_a_trace_shows_while_everything_moves(redis_world: RedisWorld) -> None:
    world = redis_world
    in_raw, _ = fill(world)
    transformer = world.stream("t")
    gone = in_raw.pop(20)
    world.delete_entry(gone.id)
    world.delete_record(gone.id)

    def meanwhile(_step: int) -> None:
        if in_raw:
            entry = in_raw.pop()
            verdict = Settle([Output(b"p", entry.samples)])
            assert transformer.settle(entry, verdict, "t") is SettleResult.OK

    audit = ledger(world, Moving(world.redis, meanwhile)).audit()

    assert (audit.imbalance_samples, audit.lost_samples) == (gone.samples, 0)


def test_each_loss_is_named_as_by_a_single_step(redis_world: RedisWorld) -> None:
    world = redis_world
    in_raw, in_points = fill(world)
    world.delete_entry(in_raw[3].id)
    world.delete_record(in_raw[11].id)
    world.delete_payload(in_raw[17].payload_key)
    world.acknowledge(in_raw[29].id)
    world.redis.hset(world.keys.in_flight(RAW), "odd", "field")
    loader = world.stream("l", POINTS)
    letter = Settle(dead=[DeadLetter("rejected", "why", b"z", 3)])
    for entry in in_points[:6]:
        assert loader.settle(entry, letter, "l") is SettleResult.OK
    letters: Any = world.redis.xrange(world.keys.dead)
    world.redis.xdel(world.keys.dead, letters[0][0])

    found = ledger(world, world.redis).audit()

    assert found == ledger(world, world.redis, most_entries=1000).audit()
    lost = {"q@hot": 4 + 18 + 30, "?": 0}
    assert found.streams[RAW].lost_samples == lost
    assert found.streams[RAW].unaccounted_samples == 12
    assert found.deleted_dead_samples == {"q@hot": 3}
    assert found.imbalance_samples == 4 + 12 + 18 + 30 + 3


def test_what_only_seemed_lost_is_read_again(redis_world: RedisWorld) -> None:
    """As a Redis that fails over between two steps to a replica that lags."""
    world = redis_world
    in_raw, _ = fill(world)

    def meanwhile(step: int) -> None:
        if step == 1:
            world.redis.hincrby(world.keys.ledger, "q@hot|extracted", -30)
            world.delete_entry(in_raw[29].id)
            world.delete_record(in_raw[29].id)

    audit = ledger(world, Moving(world.redis, meanwhile)).audit()

    assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)


def test_more_moves_than_is_noted(redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "SETTLED_NOTED", 1)
    world = redis_world
    # Redis forgets notes by whole nodes, of a hundred by default.
    world.redis.config_set("stream-node-max-entries", 1)
    in_raw, _ = fill(world, raw=100)
    transformer = world.stream("t")

    def meanwhile(step: int) -> None:
        if step % 10 == 0:
            entry = in_raw.pop()
            verdict = Settle(drops={"nan": entry.samples})
            assert transformer.settle(entry, verdict, "t") is SettleResult.OK

    try:
        with pytest.raises(AuditMovedError, match="moves faster"):
            ledger(world, Moving(world.redis, meanwhile)).audit()
    finally:
        world.redis.config_set("stream-node-max-entries", 100)
    # Once it is calm again it is exact again.
    assert ledger(world, world.redis).audit().imbalance_samples == 0


@pytest.mark.parametrize("user", ["metrics", "etlctl"])
def test_who_may_only_read_can_audit_in_steps(
    make_redis: Callable[..., RedisServer], clock: FakeClock, user: str
) -> None:
    server, _ = server_with(make_redis, user)
    with server.client() as admin:
        world = RedisWorld(admin, clock)
        # The document's rules name the default namespace.
        world.keys = type(world.keys)("etl")
        in_raw, _ = fill(world)
        world.delete_entry(in_raw[3].id)
        with server.client() as client:
            client.execute_command("AUTH", user, "word")
            audit = ledger(world, client).audit()
    assert audit.lost_samples == 4
    assert denied(server) == set()
