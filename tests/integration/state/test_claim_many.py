"""More entries wait than a claim looks at, or more come back than it takes: none is left out."""

from __future__ import annotations

from typing import Any

import pytest

from common.state.keys import GROUP, RAW
from common.state.stream import RELEASED
from common.state.verdict import Entry
from tests.integration.state.worlds import ENTRY_LEASE_SECONDS, FakeClock, RedisWorld, extract

# A claim looks at 10,000.
WAITING = 10_050
WAIT_MS = 10**9
CLAIMS = 2
LEASE_MS = int(ENTRY_LEASE_SECONDS * 1000)


@pytest.fixture
def crowded(redis_world: RedisWorld) -> RedisWorld:
    """Entries that were released, and wait, and one behind them that nobody has read."""
    world, redis, name = redis_world, redis_world.redis, redis_world.keys.stream(RAW)
    world.stream("any")
    with redis.pipeline(transaction=False) as pipe:
        for _ in range(WAITING):
            pipe.xadd(name, {"samples": "1"})
        ids = pipe.execute()
    redis.xreadgroup(GROUP, RELEASED, {name: ">"}, WAITING)
    wait = f"{world.clock() + WAIT_MS} {WAIT_MS}"
    redis.hset(world.keys.released(RAW), mapping=dict.fromkeys(ids, wait))
    extract(world, [(b"a", 1)])
    return world


def claimed(world: RedisWorld) -> list[Entry]:
    heir = world.stream("heir")
    return [entry for _ in range(CLAIMS) for entry in heir.claim(10).entries]


def test_what_is_ready_behind_them_is_taken(crowded: RedisWorld) -> None:
    busy = crowded.stream("busy")
    (entry,) = busy.read(1, 0.01)
    busy.release([entry.id])
    assert [(one.id, one.crashes) for one in claimed(crowded)] == [(entry.id, 0)]
    assert claimed(crowded) == []


def test_what_a_dead_worker_held_behind_them_is_taken(crowded: RedisWorld) -> None:
    (entry,) = crowded.stream("dead").read(1, 0.01)
    redis: Any = crowded.redis
    name = crowded.keys.stream(RAW)
    waiting = redis.xpending_range(name, GROUP, "-", "+", WAITING, RELEASED)
    for owner, ids in (
        (RELEASED, [one["message_id"] for one in waiting]),
        ("dead", [entry.id]),
    ):
        redis.xclaim(name, GROUP, owner, 0, ids, idle=LEASE_MS + 1, justid=True)
    assert [(one.id, one.crashes) for one in claimed(crowded)] == [(entry.id, 1)]


def test_leases_behind_them_begin_anew_once_when_the_clock_goes_back(
    crowded: RedisWorld, clock: FakeClock
) -> None:
    redis: Any = crowded.redis
    name = crowded.keys.stream(RAW)
    (entry,) = crowded.stream("dead").read(1, 0.01)
    heir = crowded.stream("heir")
    heir.claim(10)
    for back_seconds, anew in ((-3600, True), (1, False)):
        redis.xclaim(name, GROUP, "dead", 0, [entry.id], idle=LEASE_MS // 2, justid=True)
        clock.advance(back_seconds)
        for _ in range(CLAIMS):
            heir.claim(10)
        (pending,) = redis.xpending_range(name, GROUP, entry.id, entry.id, 1)
        assert (pending["time_since_delivered"] < LEASE_MS // 2) is anew


def test_what_comes_back_at_once_keeps_nothing_away(redis_world: RedisWorld) -> None:
    extract(redis_world, [(b"a", 1)] * 12)
    stream = redis_world.stream("one")
    ids = [entry.id for entry in stream.read(12, 0.01)]
    stream.release(ids)
    stream.release([entry.id for entry in stream.claim(4).entries])
    again = [entry.id for _ in range(2) for entry in stream.claim(4).entries]
    assert again == ids[4:]


def test_the_oldest_are_taken_where_they_are_asked_for(redis_world: RedisWorld) -> None:
    extract(redis_world, [(b"a", 1)] * 12)
    stream = redis_world.stream("one")
    ids = [entry.id for entry in stream.read(12, 0.01)]
    stream.release(ids)
    stream.release([entry.id for entry in stream.claim(4).entries])
    turns = []
    for from_head in (True, False, True):
        turns.append([entry.id for entry in stream.claim(4, from_head=from_head).entries])
        stream.release(turns[-1])
    assert turns == [ids[:4], ids[4:8], ids[:4]]


def test_an_entry_that_a_worker_failed_has_its_turn_among_them(redis_world: RedisWorld) -> None:
    extract(redis_world, [(b"a", 1)] * 9)
    stream = redis_world.stream("one")
    ids = [entry.id for entry in stream.read(9, 0.01)]
    failed = ids[4]
    stream.release([failed], crashed=True)
    stream.release([id_ for id_ in ids if id_ != failed])
    turns = []
    for _ in range(2):
        turns.append([entry.id for entry in stream.claim(8).entries])
        stream.release(turns[-1])
    assert turns == [[id_ for id_ in ids if id_ != failed], [failed]]
