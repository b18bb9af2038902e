"""Redis' clock goes back by an hour: no wait becomes longer than it was to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.state.keys import GROUP, RAW
from common.state.windows import Range
from tests.integration.state.worlds import (
    ENTRY_LEASE_SECONDS,
    FEED,
    STEP_MS,
    WINDOW_LEASE_SECONDS,
    RedisWorld,
    extract,
    live,
    must,
)

BACK_SECONDS = -3600
WAIT_SECONDS = 20


def test_the_lease_of_a_dead_worker_runs_out(redis_world: RedisWorld) -> None:
    windows, clock = redis_world.windows(), redis_world.clock
    windows.plan(FEED, 0, 10 * STEP_MS)
    dead = must(live(windows))
    clock.advance(BACK_SECONDS)
    assert live(windows) is None, "a lease is not shortened: whoever has it may live"
    clock.advance(WINDOW_LEASE_SECONDS - 1)
    assert live(windows) is None
    clock.advance(1)
    assert must(live(windows)).id == dead.id


def test_a_live_worker_keeps_its_window(redis_world: RedisWorld) -> None:
    windows, clock = redis_world.windows(), redis_world.clock
    windows.plan(FEED, 0, 10 * STEP_MS)
    window = must(live(windows))
    clock.advance(BACK_SECONDS)
    assert live(windows) is None
    for _ in range(3):
        clock.advance(WINDOW_LEASE_SECONDS / 2)
        assert windows.renew(FEED, window)
        assert live(windows) is None


def test_a_window_that_waits_is_leased_after_its_wait(redis_world: RedisWorld) -> None:
    windows, clock = redis_world.windows(), redis_world.clock
    windows.plan(FEED, 0, 10 * STEP_MS)
    window = must(live(windows))
    windows.retry(FEED, window, WAIT_SECONDS)
    clock.advance(BACK_SECONDS)
    assert live(windows) is None
    clock.advance(WAIT_SECONDS)
    assert must(live(windows)).id == window.id


def test_a_query_that_failed_is_tried_after_its_wait(redis_world: RedisWorld) -> None:
    windows, clock = redis_world.windows(), redis_world.clock
    windows.plan(FEED, 0, 10 * STEP_MS)
    windows.fail(FEED, must(live(windows)), WAIT_SECONDS, 60)
    clock.advance(BACK_SECONDS)
    assert live(windows) is None
    clock.advance(WAIT_SECONDS)
    must(live(windows))


def test_a_wait_of_an_older_version_ends_too(redis_world: RedisWorld) -> None:
    """It was stored without its length."""
    windows, clock, redis = redis_world.windows(), redis_world.clock, redis_world.redis
    windows.plan(FEED, 0, 10 * STEP_MS)
    redis.hset(redis_world.keys.feed(FEED.name), "not_before_ms", clock() + 3_600_000)
    assert live(windows) is None
    clock.advance(600)
    must(live(windows))


def test_a_released_entry_is_taken_after_its_wait(redis_world: RedisWorld) -> None:
    clock = redis_world.clock
    extract(redis_world, [(b"a", 1)])
    stream = redis_world.stream("one")
    (entry,) = stream.read(1, 0.01)
    stream.release([entry.id], WAIT_SECONDS)
    clock.advance(BACK_SECONDS)
    assert not stream.claim(10).entries
    clock.advance(WAIT_SECONDS)
    (again,) = stream.claim(10).entries
    assert (again.id, again.crashes) == (entry.id, 0)


def test_the_entries_of_a_dead_worker_are_leased_anew(redis_world: RedisWorld) -> None:
    """Redis itself keeps since when each is leased, and takes what lies ahead for just now."""
    redis, clock, keys = redis_world.redis, redis_world.clock, redis_world.keys
    extract(redis_world, [(b"a", 1)])
    extract(redis_world, [(b"b", 1)])
    dead, heir = redis_world.stream("dead"), redis_world.stream("heir")
    heir.claim(10)
    dead.read(2, 0.01)
    half_ms = int(ENTRY_LEASE_SECONDS * 500)
    name = keys.stream(RAW)
    pending: Any = redis.xpending_range(name, GROUP, "-", "+", 10)
    ids = [one["message_id"] for one in pending]
    redis.xclaim(name, GROUP, "dead", 0, ids, idle=half_ms, justid=True)

    heir.claim(10)
    assert [idle >= half_ms for idle in _idle_ms(redis, name)] == [True, True]
    clock.advance(BACK_SECONDS)
    heir.claim(10)
    assert [idle < half_ms for idle in _idle_ms(redis, name)] == [True, True]

    redis.xclaim(name, GROUP, "dead", 0, ids, idle=half_ms, justid=True)
    clock.advance(1)
    heir.claim(10)
    assert [idle >= half_ms for idle in _idle_ms(redis, name)] == [True, True], "once for each step"


def _idle_ms(redis: Any, name: str) -> list[int]:
    found: Any = redis.xpending_range(name, GROUP, "-", "+", 10)
    assert {one["consumer"] for one in found} == {b"dead"}
    return [one["time_since_delivered"] for one in found]


def test_a_query_that_nobody_plans_is_closed_in_time(redis_world: RedisWorld) -> None:
    windows, clock = redis_world.windows(), redis_world.clock
    windows.plan(FEED, 0, 10 * STEP_MS)

    def close() -> Sequence[Range] | None:
        return windows.close(FEED.name, WAIT_SECONDS, "query removed")

    clock.advance(BACK_SECONDS)
    assert close() is None
    clock.advance(WAIT_SECONDS)
    assert close() == [(0, 10 * STEP_MS)]
