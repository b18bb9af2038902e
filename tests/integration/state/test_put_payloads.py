"""Payloads lie in Redis before the script that takes them, and never without it for long."""

from __future__ import annotations

import pytest
from redis.client import Pipeline
from redis.exceptions import OutOfMemoryError, ResponseError

from common.state.keys import POINTS, RAW
from common.state.stream import SettleResult
from common.state.verdict import Output, Settle
from tests.integration.state.worlds import FEED, RedisWorld, extract, live, must

TO_POINTS = Settle(outputs=(Output(b"lines", 2), Output(b"more", 3)))


def ttls_seconds(world: RedisWorld) -> list[int]:
    """Of every payload, in order; -1 for one that stays."""
    redis = world.redis
    return sorted(redis.ttl(key) for key in redis.keys(world.keys.payload("*")))


def test_what_is_settled_stays_and_what_is_refused_expires(redis_world: RedisWorld) -> None:
    world = redis_world
    extract(world, [(b"raw", 5)])
    stream = world.stream("worker")
    (entry,) = stream.read(1, 0.01)

    assert stream.settle(entry, TO_POINTS, "transformer") is SettleResult.OK
    assert ttls_seconds(world) == [-1, -1]
    assert stream.settle(entry, TO_POINTS, "transformer") is SettleResult.REFUSED
    *left, kept, also_kept = sorted(ttls_seconds(world), reverse=True)
    assert (kept, also_kept, len(left)) == (-1, -1, 2)
    assert all(0 < ttl_seconds <= 30 for ttl_seconds in left)


def test_a_server_that_forgot_its_scripts_gets_them_again(redis_world: RedisWorld) -> None:
    world = redis_world
    stream = world.stream("worker")
    extract(world, [(b"raw", 5)])
    (entry,) = stream.read(1, 0.01)
    windows = world.windows()
    windows.stage(b"once", 1, 60)

    world.redis.script_flush()
    staged = windows.stage(b"again", 1, 60)
    world.redis.script_flush()
    settled = stream.settle(entry, TO_POINTS, "transformer")

    assert world.redis.get(staged.key) == b"again"
    assert settled is SettleResult.OK
    assert world.audit().imbalance_samples == 0


def test_at_maxmemory_an_entry_with_outputs_is_left_as_it_is(redis_world: RedisWorld) -> None:
    world = redis_world
    extract(world, [(b"raw", 5)])
    stream = world.stream("worker")
    (entry,) = stream.read(1, 0.01)
    world.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            stream.settle(entry, TO_POINTS, "transformer")
    finally:
        world.redis.config_set("maxmemory", 0)

    assert ttls_seconds(world) == [-1]
    assert world.redis.exists(world.keys.stream(POINTS)) == 0
    assert stream.settle(entry, TO_POINTS, "transformer") is SettleResult.OK


def test_nothing_is_done_without_its_payload(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = redis_world
    extract(world, [(b"raw", 5)])
    stream = world.stream("worker")
    (entry,) = stream.read(1, 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(Pipeline, "set", lambda *_args, **_options: None)
        with pytest.raises(ResponseError, match="expired"):
            stream.settle(entry, TO_POINTS, "transformer")
        lost = world.windows().stage(b"lost", 1, 60)

    assert world.redis.zcard(world.keys.staged) == 0
    windows = world.windows()
    windows.plan(FEED, 0, 10_000_000)
    window = must(live(windows))
    assert windows.commit(FEED, window, [lost]) == "unstaged"
    assert world.audit().streams[RAW].entries == 1
    assert stream.settle(entry, TO_POINTS, "transformer") is SettleResult.OK


def test_a_commit_that_is_asked_for_again_leaves_what_it_kept(redis_world: RedisWorld) -> None:
    """The response to the first one may have been lost."""
    windows = redis_world.windows()
    windows.plan(FEED, 0, 10_000_000)
    window = must(live(windows))
    held = windows.hold(b"raw", 1)

    assert windows.commit(FEED, window, [held]) == "committed"
    assert windows.commit(FEED, window, [held]) == "refused"
    assert ttls_seconds(redis_world) == [-1]
