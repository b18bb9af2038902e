"""The state of very many feeds, and the bytes of very many entries, are read in small steps."""

from __future__ import annotations

import random

import pytest

import common.state.feeds_reading
import common.state.windows
from common.state.backfills import Backfills
from common.state.keys import RAW
from common.state.windows import Feed, WindowSet
from tests.doubles.size_classes import allocated_bytes
from tests.integration.state.worlds import STEP_MS, RedisWorld, must

FEEDS = [Feed(f"q{number}", "hot", "expr", "f") for number in range(7)]
ONE_GIB = 1 << 30


def planned(world: RedisWorld) -> WindowSet:
    """Feeds with an open window each, and as many committed ones as their number says."""
    windows = world.windows()
    for number, feed in enumerate(FEEDS):
        windows.plan(feed, 0, 100 * STEP_MS, adopt=True)
        for _ in range(number):
            window = must(windows.lease(feed, "live", 10**9, STEP_MS))
            windows.commit(feed, window, [windows.stage(b"x", 1, 60)])
        must(windows.lease(feed, "live", 10**9, STEP_MS))
    return windows


def in_small_steps(monkeypatch: pytest.MonkeyPatch, feeds: int, windows: int) -> None:
    def read(*args: object) -> object:
        return whole(*args, most_feeds=feeds, most_windows=windows)  # type: ignore[arg-type]

    whole = common.state.feeds_reading.read_feeds
    for module in (common.state.windows, common.state.backfills):
        monkeypatch.setattr(module, "read_feeds", read)


@pytest.mark.parametrize(("feeds", "windows"), [(2, 10**6), (1, 1), (10**6, 3), (7, 20)])
def test_many_feeds_are_read_like_few(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch, feeds: int, windows: int
) -> None:
    window_set = planned(redis_world)
    backfills = Backfills(redis_world.redis, redis_world.keys)
    for feed in FEEDS:
        window_set.set_reconciled(feed)
    backfills.create({feed: [(-5 * STEP_MS, 0)] for feed in FEEDS}, -5 * STEP_MS, 0)
    redis_world.redis.hset(redis_world.keys.committed, "odd", "no window")
    redis_world.redis.hset(redis_world.keys.committed, "unknown", "gone@hot 0 1000")
    at_once, parts = window_set.status(), backfills.parts()
    assert [len(one.unsettled) for one in at_once.values()] == list(range(7))
    assert len(parts) == 7

    in_small_steps(monkeypatch, feeds, windows)

    found = window_set.status()
    assert list(found) == list(at_once)
    assert {name: sorted(one.unsettled) for name, one in found.items()} == {
        name: sorted(one.unsettled) for name, one in at_once.items()
    }
    assert [(one.watermark_ms, one.loaded_watermark_ms) for one in found.values()] == [
        (one.watermark_ms, one.loaded_watermark_ms) for one in at_once.values()
    ]
    assert backfills.parts() == parts


def test_a_window_that_moves_on_between_two_steps_never_lifts_the_watermark_too_far(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is seen open, or committed, or it was settled before the reading ended."""
    windows = planned(redis_world)
    moving = FEEDS[0]
    (held,) = windows.status()[moving.name].open
    in_small_steps(monkeypatch, 2, 1)
    read, steps = windows._scripts.read, 0

    def read_and_move(*args: object, **more: object) -> object:
        nonlocal steps
        reply = read(*args, **more)  # type: ignore[arg-type]
        steps += 1
        if steps == 2:  # the first feeds were read
            redis_world.clock.advance(100)
            window = must(windows.lease(moving, "live", 10**9, STEP_MS))
            assert windows.commit(moving, window, [windows.stage(b"x", 1, 60)]) == "committed"
        return reply

    monkeypatch.setattr(windows._scripts, "read", read_and_move)

    found = windows.status()[moving.name]

    assert found.loaded_watermark_ms <= held[0]
    assert held in found.open
    assert steps == 5


def test_of_many_entries_some_tell_how_much_memory_all_take(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 500
    monkeypatch.setattr(common.state.windows, "MOST_MEASURED_ENTRIES", most)
    windows, key = redis_world.windows(), redis_world.keys.in_flight(RAW)
    rng = random.Random(1)
    sizes = [rng.choice((600, 5_000, 450_000)) for _ in range(4 * most)]
    taken_bytes = sum(map(allocated_bytes, sizes))
    for number, size in enumerate(sizes):
        redis_world.redis.hset(key, f"{number}-0", f"1 {size} q@hot w key")

    found = [windows.pressure(ONE_GIB, 1)[1] for _ in range(20)]

    assert all(0.8 * taken_bytes < one < 1.5 * taken_bytes for one in found)
    assert sum(one > taken_bytes for one in found) > 10, "rather too much than too little"
    assert windows.pressure(taken_bytes // 2, 1)[0]

    redis_world.redis.hdel(key, *(f"{number}-0" for number in range(most, len(sizes))))
    exact_bytes = sum(map(allocated_bytes, sizes[:most]))
    assert windows.pressure(ONE_GIB, 1)[1] == exact_bytes
