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
OLD_MS = 10**9


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


def age(world: RedisWorld, *ids: str) -> None:
    redis: Any = world.redis
    redis.xclaim(world.keys.stream(RAW), GROUP, RELEASED, 0, ids, idle=OLD_MS, justid=True)


def begun_anew(world: RedisWorld, *ids: str) -> bool:
    redis: Any = world.redis
    found = [redis.xpending_range(world.keys.stream(RAW), GROUP, id_, id_, 1)[0] for id_ in ids]
    return all(one["time_since_delivered"] < OLD_MS for one in found)


def test_leases_begin_anew_again_when_the_clock_goes_back_meanwhile(
    crowded: RedisWorld, clock: FakeClock
) -> None:
    """What a first walk has renewed until the second step began in the future as well."""
    redis: Any = crowded.redis
    pending = redis.xpending_range(crowded.keys.stream(RAW), GROUP, "-", "+", WAITING)
    first, late, last = (pending[at]["message_id"] for at in (0, 9_950, -1))
    heir, other = crowded.stream("heir"), crowded.stream("other")
    heir.claim(10)
    clock.advance(-3600)
    age(crowded, first, late, last)
    heir.claim(10)
    assert begun_anew(crowded, first, late) and not begun_anew(crowded, last)
    clock.advance(-3600)
    age(crowded, first, late, last)
    heir.claim(10)
    assert begun_anew(crowded, first, late) and not begun_anew(crowded, last)
    # Workers share the walk.
    age(crowded, late)
    other.claim(10)
    assert begun_anew(crowded, last) and not begun_anew(crowded, late)
    # It has ended.
    age(crowded, first, last)
    clock.advance(1)
    heir.claim(10)
    assert not begun_anew(crowded, first) and not begun_anew(crowded, last)


def test_what_is_no_time_and_no_entry_is_none(crowded: RedisWorld) -> None:
    redis: Any = crowded.redis
    key = crowded.keys.clock(RAW)
    for noted in ("", "x", "1 x", "1 (x", "-5 (1-0"):
        redis.set(key, noted)
        crowded.stream("heir").claim(10)
        assert int(redis.get(key)) == crowded.clock()


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
