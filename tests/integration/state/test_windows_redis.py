"""The window set on real Redis: no memory left, and many workers at once."""

from __future__ import annotations

import itertools
import random
import threading

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from common.state.keys import RAW, Keys
from common.state.ledger import Ledger
from common.state.windows import Recheck, Window, WindowSet
from tests.integration.state.worlds import (
    FEED,
    STEP_MS,
    FakeClock,
    RedisWorld,
    bounds,
    commit,
    live,
    must,
)


def test_at_maxmemory_windows_are_deferred_and_rechecks_go_on(redis_world: RedisWorld) -> None:
    windows, redis_client, clock = redis_world.windows(), redis_world.redis, redis_world.clock
    windows.plan(FEED, 0, 10 * STEP_MS)
    windows.commit(FEED, must(live(windows)), [], recheck_after_seconds=(10, 20))
    windows.plan(FEED, 0, 11 * STEP_MS)
    window = must(live(windows))
    clock.ms += 10_000
    (due,) = windows.due_rechecks(FEED, 10)
    redis_client.config_set("maxmemory", 1)
    try:
        assert windows.defer(FEED, window, 1, 10)
        windows.postpone_rechecks(FEED, [due], 5)
        clock.ms += 5_000
        (again,) = windows.due_rechecks(FEED, 10)
        windows.pass_rechecks(FEED, [again], (10, 20), 60)
    finally:
        redis_client.config_set("maxmemory", 0)

    clock.ms += 10_000
    (later,) = windows.due_rechecks(FEED, 10)
    assert (again.failures, later.round, later.failures) == (1, 1, 0)
    assert windows.status()["q@hot"].deferred == [(10 * STEP_MS, 11 * STEP_MS)]


def test_rechecks_of_an_older_version_are_made_and_foreign_ones_removed(
    redis_world: RedisWorld,
) -> None:
    windows, key = redis_world.windows(), redis_world.keys.rechecks(FEED.name)
    windows.plan(FEED, 0, 10 * STEP_MS)
    redis_world.redis.zadd(key, {"0 5000 7": 1, "hello": 1, "1 2": 1})

    (due,) = windows.due_rechecks(FEED, 10)

    assert due == Recheck(0, 5000, 7)
    assert redis_world.redis.zrange(key, 0, -1) == [due.member.encode()]
    windows.forget_rechecks(FEED, [due])
    assert windows.due_rechecks(FEED, 10) == []


def test_at_maxmemory_nothing_is_staged_or_committed_by_halves(
    redis_world: RedisWorld,
) -> None:
    windows, redis_client = redis_world.windows(), redis_world.redis
    windows.plan(FEED, 0, 10 * STEP_MS)
    window = must(live(windows))
    staged = [windows.stage(b"x" * 1000, 1, 60)]
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            windows.stage(b"y", 1, 60)
        with pytest.raises(OutOfMemoryError):
            windows.commit(FEED, window, staged)
    finally:
        redis_client.config_set("maxmemory", 0)

    assert redis_client.exists(redis_world.keys.stream(RAW)) == 0
    assert windows.commit(FEED, window, staged) == "committed"


@pytest.mark.parametrize("seed", range(5))
def test_many_workers_cover_every_step_exactly_once(
    redis_client: Redis, clock: FakeClock, seed: int
) -> None:
    """Workers that commit, split, retry, fail, die or wake up late, all at once."""
    keys = Keys("many")
    committed: list[tuple[int, int]] = []
    lock = threading.Lock()
    steps = 400

    def worker(number: int) -> None:
        rng = random.Random(seed * 100 + number)
        mine = WindowSet(redis_client, keys, lease_seconds=60, max_open=50, now_ms=clock)
        held: list[Window] = []
        for _ in range(10_000):
            mine.plan(FEED, 0, min(steps, rng.randrange(1, steps * 2)) * STEP_MS)
            window = mine.lease(FEED, rng.choice(["live", "catchup"]), 50 * STEP_MS, 8 * STEP_MS)
            if window is None:
                status = mine.status()["q@hot"]
                if status.watermark_ms == steps * STEP_MS:
                    return
                with lock:
                    clock.ms += 5_000
                continue
            drawn = rng.random()
            span = (window.end_ms - window.start_ms) // STEP_MS
            if drawn < 0.15:
                held.append(window)  # it dies, or wakes up late
            elif drawn < 0.3 and span > 1:
                mine.split(FEED, window, window.start_ms + rng.randrange(1, span) * STEP_MS)
            elif drawn < 0.4:
                mine.retry(FEED, window, rng.uniform(0, 10))
            elif drawn < 0.45:
                mine.fail(FEED, window, 1, 10)
            else:
                held.append(window)
                for late in held:
                    if commit(mine, late, samples=span) == "committed":
                        with lock:
                            committed.append(bounds(late))
                held.clear()
        raise AssertionError("the windows were never all committed")

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    edges = sorted(committed)
    assert edges[0][0] == 0
    assert edges[-1][1] == steps * STEP_MS
    assert all(left[1] == right[0] for left, right in itertools.pairwise(edges))
    status = WindowSet(redis_client, keys, now_ms=clock).status()["q@hot"]
    assert (status.backlog, status.open) == ([], [])
    assert Ledger(redis_client, keys, now_ms=clock).audit().imbalance_samples == 0
