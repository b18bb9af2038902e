"""One contract for the window set, held to by real Redis and by the one in memory.

No gap, no overlap, whoever crashes, splits or wakes up late.
"""

from __future__ import annotations

import itertools
import random
import threading
from typing import Protocol

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from common.state.keys import POINTS, RAW, Keys
from common.state.ledger import Audit, Ledger
from common.state.stream import RedisStream, Stream
from common.state.verdict import Output, Settle
from common.state.windows import MOST_GROWTH, Feed, Window, WindowSet
from tests.doubles.memory_stream import MemoryBroker, MemoryStream
from tests.doubles.memory_windows import MemoryFeeds, MemoryWindowSet
from tests.doubles.size_classes import ENTRY_OVERHEAD_BYTES, allocated_bytes

Windows = WindowSet | MemoryWindowSet

FEED = Feed("q", "hot", "expr", "f1")
CHANGED = Feed("q", "hot", "expr", "f2")
STEP = 1000


class FakeClock:
    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


class World(Protocol):
    def windows(self, max_open: int = 100) -> Windows: ...
    def transformer(self) -> Stream: ...
    def audit(self) -> Audit: ...
    def entries(self) -> int: ...
    def payload(self, key: str) -> bytes | None: ...
    def vanishes(self, key: str) -> bool: ...
    def lose_payload(self, key: str) -> None: ...
    def lose_in_flight(self) -> None: ...
    def lose_everything(self) -> None: ...


class MemoryWorld:
    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.lose_everything()

    def windows(self, max_open: int = 100) -> MemoryWindowSet:
        return MemoryWindowSet(self.broker, self.feeds, lease_seconds=60, max_open=max_open)

    def transformer(self) -> MemoryStream:
        return MemoryStream(self.broker, RAW, "transformer", outbound=POINTS)

    def audit(self) -> Audit:
        return self.broker.audit()

    def entries(self) -> int:
        return len(self.broker.state(RAW).entries)

    def payload(self, key: str) -> bytes | None:
        return self.broker.payloads.get(key)

    def vanishes(self, key: str) -> bool:
        return key in self.broker.staged

    def lose_payload(self, key: str) -> None:
        del self.broker.payloads[key]

    def lose_in_flight(self) -> None:
        self.broker.state(RAW).in_flight.clear()

    def lose_everything(self) -> None:
        self.broker, self.feeds = MemoryBroker(self.clock), MemoryFeeds()


class RedisWorld:
    keys = Keys("win")

    def __init__(self, redis: Redis, clock: FakeClock) -> None:
        self.redis, self.clock = redis, clock

    def windows(self, max_open: int = 100) -> WindowSet:
        return WindowSet(
            self.redis, self.keys, lease_seconds=60, max_open=max_open, now_ms=self.clock
        )

    def transformer(self) -> RedisStream:
        stream = RedisStream(
            self.redis, self.keys, RAW, "transformer", outbound=POINTS, now_ms=self.clock
        )
        stream.ensure()
        return stream

    def audit(self) -> Audit:
        return Ledger(self.redis, self.keys, now_ms=self.clock).audit()

    def entries(self) -> int:
        return int(self.redis.xlen(self.keys.stream(RAW)))

    def payload(self, key: str) -> bytes | None:
        found = self.redis.get(key)
        assert found is None or isinstance(found, bytes)
        return found

    def vanishes(self, key: str) -> bool:
        return self.redis.pttl(key) > 0

    def lose_payload(self, key: str) -> None:
        assert self.redis.delete(key) == 1

    def lose_in_flight(self) -> None:
        assert self.redis.delete(self.keys.in_flight(RAW)) == 1

    def lose_everything(self) -> None:
        self.redis.flushall()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "redis"])
def world(request: pytest.FixtureRequest, clock: FakeClock) -> World:
    if request.param == "memory":
        return MemoryWorld(clock)
    return RedisWorld(request.getfixturevalue("redis_client"), clock)


@pytest.fixture
def windows(world: World) -> Windows:
    return world.windows()


def live(windows: Windows, feed: Feed = FEED, longest_ms: int = 10 * STEP) -> Window | None:
    return windows.lease(feed, "live", 10**12, longest_ms)


def must(window: Window | None) -> Window:
    assert window is not None
    return window


def bounds(window: Window) -> tuple[int, int]:
    return window.start_ms, window.end_ms


def commit(windows: Windows, window: Window, samples: int = 1, feed: Feed = FEED) -> str:
    return windows.commit(feed, window, [windows.stage(b"p", samples, 60)] if samples else [])


def test_newest_first_and_no_more_than_the_longest(windows: Windows) -> None:
    windows.plan(FEED, 0, 25 * STEP)

    cut = [bounds(must(live(windows))) for _ in range(3)]

    assert cut == [(15 * STEP, 25 * STEP), (5 * STEP, 15 * STEP), (0, 5 * STEP)]
    assert live(windows) is None


def test_live_and_catch_up_divide_the_backlog_at_the_horizon(windows: Windows) -> None:
    windows.plan(FEED, 0, 100 * STEP)

    fresh = must(windows.lease(FEED, "live", 5 * STEP, 10 * STEP))
    old = must(windows.lease(FEED, "catchup", 5 * STEP, 40 * STEP))

    assert bounds(fresh) == (95 * STEP, 100 * STEP)
    assert bounds(old) == (55 * STEP, 95 * STEP)
    assert windows.lease(FEED, "live", 5 * STEP, 10 * STEP) is None


def test_planning_again_changes_nothing_and_heads_never_go_back(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP)
    windows.plan(FEED, 5 * STEP, 10 * STEP)
    windows.plan(FEED, 0, 5 * STEP)

    status = windows.status()["q@hot"]

    assert (status.origin_ms, status.head_ms, status.backlog) == (0, 10 * STEP, [(0, 10 * STEP)])


def test_a_backlog_of_any_length_is_one_range(windows: Windows) -> None:
    for head in range(1, 500):
        windows.plan(FEED, 0, head * STEP)

    assert windows.status()["q@hot"].backlog == [(0, 499 * STEP)]


def test_an_expired_lease_is_leased_again_and_the_first_owner_cannot_commit(
    windows: Windows, clock: FakeClock
) -> None:
    windows.plan(FEED, 0, 5 * STEP)
    first = must(live(windows))
    assert live(windows) is None
    clock.ms += 61_000

    second = must(live(windows))

    assert bounds(second) == bounds(first)
    assert second.token != first.token
    assert commit(windows, first) == "refused"
    assert not windows.renew(FEED, first)
    assert not windows.split(FEED, first, 2 * STEP)
    assert commit(windows, second) == "committed"
    assert commit(windows, second) == "refused"


def test_a_renewed_lease_does_not_expire(windows: Windows, clock: FakeClock) -> None:
    windows.plan(FEED, 0, 5 * STEP)
    window = must(live(windows))
    for _ in range(5):
        clock.ms += 50_000
        assert windows.renew(FEED, window)

    assert live(windows) is None
    assert commit(windows, window) == "committed"


def test_a_commit_books_and_delivers_and_the_watermarks_follow(
    windows: Windows, world: World
) -> None:
    windows.plan(FEED, 0, 20 * STEP)
    newer, older = must(live(windows)), must(live(windows))

    commit(windows, newer, samples=7)
    status = windows.status()["q@hot"]
    assert (status.watermark_ms, status.loaded_watermark_ms) == (0, 0)

    commit(windows, older, samples=3)
    status = windows.status()["q@hot"]
    assert (status.watermark_ms, status.loaded_watermark_ms) == (20 * STEP, 0)
    assert world.entries() == 2
    audit = world.audit()
    assert audit.accounts["q@hot"].extracted == audit.accounts["q@hot"].in_flight == 10
    assert audit.imbalance_samples == 0
    assert audit.staged_bytes == 0


def test_an_empty_window_commits_without_entries(windows: Windows) -> None:
    windows.plan(FEED, 0, 5 * STEP)

    assert commit(windows, must(live(windows)), samples=0) == "committed"

    assert windows.status()["q@hot"].loaded_watermark_ms == 5 * STEP


def test_a_commit_without_its_payload_changes_nothing(windows: Windows, world: World) -> None:
    windows.plan(FEED, 0, 5 * STEP)
    window = must(live(windows))
    staged = [windows.stage(b"a", 1, 60), windows.stage(b"b", 1, 60)]
    world.lose_payload(staged[1].key)

    assert windows.commit(FEED, window, staged) == "unstaged"

    assert world.entries() == 0
    assert commit(windows, window) == "committed"


def test_staged_payloads_vanish_by_themselves_and_committed_ones_stay(
    windows: Windows, world: World
) -> None:
    windows.plan(FEED, 0, 5 * STEP)
    window = must(live(windows))
    kept, left = windows.stage(b"kept", 1, 60), windows.stage(b"left", 1, 60)
    assert world.vanishes(left.key)

    windows.commit(FEED, window, [kept])

    assert not world.vanishes(kept.key)
    assert world.payload(kept.key) == b"kept"
    assert windows.discard([left]) == 1
    assert world.payload(left.key) is None


def test_discarding_what_was_committed_after_all_changes_nothing(
    windows: Windows, world: World
) -> None:
    windows.plan(FEED, 0, 5 * STEP)
    window = must(live(windows))
    staged = [windows.stage(b"kept", 1, 60)]
    assert windows.commit(FEED, window, staged) == "committed"

    assert windows.discard(staged) == 0

    assert world.payload(staged[0].key) == b"kept"
    assert world.audit().imbalance_samples == 0


def test_a_split_puts_two_windows_in_its_place(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP)
    window = must(live(windows))

    assert windows.split(FEED, window, 4 * STEP)

    halves = [bounds(must(live(windows))), bounds(must(live(windows)))]
    assert halves == [(4 * STEP, 10 * STEP), (0, 4 * STEP)]
    assert commit(windows, window) == "refused"


@pytest.mark.parametrize("middle", [0, 10 * STEP, 11 * STEP])
def test_a_split_outside_the_window_is_refused(windows: Windows, middle: int) -> None:
    windows.plan(FEED, 0, 10 * STEP)
    window = must(live(windows))

    assert not windows.split(FEED, window, middle)

    assert commit(windows, window) == "committed"


def test_a_window_tried_again_waits(windows: Windows, clock: FakeClock) -> None:
    windows.plan(FEED, 0, 5 * STEP)
    windows.retry(FEED, must(live(windows)), after_seconds=10)
    assert live(windows) is None
    clock.ms += 11_000

    assert must(live(windows)).attempts == 1


def test_a_failing_feed_waits_longer_each_time_and_others_go_on(
    windows: Windows, clock: FakeClock
) -> None:
    other = Feed("other", "hot", "expr", "f1")
    windows.plan(FEED, 0, 5 * STEP)
    windows.plan(other, 0, 5 * STEP)
    waits = []
    for _ in range(4):
        windows.fail(FEED, must(live(windows)), 10, 35)
        waited = 0
        while (again := live(windows)) is None:
            clock.ms += 1000
            waited += 1
        waits.append(waited)
        windows.retry(FEED, again, 0)

    assert waits == [10, 20, 35, 35]
    assert must(live(windows, other)).end_ms == 5 * STEP


def test_a_changed_query_is_cut_anew_and_the_old_one_cannot_commit(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP)
    old = must(live(windows, longest_ms=5 * STEP))
    assert not windows.plan(CHANGED, 0, 12 * STEP)

    assert windows.plan(CHANGED, 0, 12 * STEP, adopt=True)

    assert commit(windows, old) == "refused"
    assert live(windows) is None
    new = must(live(windows, CHANGED, longest_ms=100 * STEP))
    assert bounds(new) == (0, 12 * STEP)


def test_a_gap_is_declared_and_the_rest_stays(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP)
    window = must(live(windows))

    assert windows.declare_gap(FEED, window, 4 * STEP, "gone")
    windows.retry(FEED, window, 0)

    rest = must(live(windows))
    assert bounds(rest) == (4 * STEP, 10 * STEP)
    assert windows.declare_gap(FEED, rest, 99 * STEP, "gone")
    assert [(gap.start_ms, gap.end_ms) for gap in windows.gaps("q@hot")] == [(0, 10 * STEP)]
    assert windows.status()["q@hot"].watermark_ms == 10 * STEP


def test_a_removed_query_is_closed_only_when_nobody_plans_it(
    windows: Windows, clock: FakeClock
) -> None:
    windows.plan(FEED, 0, 10 * STEP)
    live(windows, longest_ms=4 * STEP)
    assert windows.close("q@hot", 60, "query removed") is None
    clock.ms += 61_000

    owed = windows.close("q@hot", 60, "query removed")

    assert owed == [(0, 6 * STEP), (6 * STEP, 10 * STEP)]
    assert windows.status() == {}
    assert [(gap.start_ms, gap.end_ms, gap.reason) for gap in windows.gaps("q@hot")] == [
        (0, 10 * STEP, "query removed")
    ]


def test_gaps_that_touch_are_one_and_others_are_not(windows: Windows) -> None:
    windows.plan(FEED, 0, 40 * STEP)
    cut = [must(live(windows)) for _ in range(4)]
    for window in (cut[0], cut[1], cut[3]):
        windows.declare_gap(FEED, window, window.end_ms, "gone")

    gaps = [(gap.start_ms, gap.end_ms) for gap in windows.gaps("q@hot")]

    assert gaps == [(20 * STEP, 40 * STEP), (0, 10 * STEP)]


def test_open_windows_are_bounded(world: World) -> None:
    windows = world.windows(max_open=3)
    windows.plan(FEED, 0, 100 * STEP)

    leased = [live(windows, longest_ms=STEP) for _ in range(5)]

    assert [window is None for window in leased] == [False, False, False, True, True]


def test_pressure_has_hysteresis(windows: Windows, world: World) -> None:
    windows.plan(FEED, 0, 10 * STEP)
    window = must(live(windows))
    assert windows.pressure(3000, 1000) == (False, 0)
    staged = [windows.stage(b"x" * 4000, 1, 60)]
    paused, in_flight_bytes = windows.pressure(3000, 1000)
    assert paused
    assert in_flight_bytes >= 4000
    windows.commit(FEED, window, staged)

    assert windows.pressure(10**6, 1000)[0], "it stays paused until below the low-water mark"
    world.lose_in_flight()
    assert windows.pressure(3000, 1000) == (False, 0)


@pytest.mark.parametrize("size_bytes", [1, 16, 17, 64, 65, 5_000, 40_960, 40_961, 564_000])
def test_pressure_counts_what_redis_allocates(windows: Windows, size_bytes: int) -> None:
    windows.stage(b"x" * size_bytes, 1, 60)

    _, in_flight_bytes = windows.pressure(10**9, 1000)

    assert in_flight_bytes == allocated_bytes(size_bytes)


@pytest.mark.parametrize(
    ("point_bytes", "growth"), [(3 * 8192, 3.0), (800, 1.0), (9 * 8192, MOST_GROWTH)]
)
def test_what_is_raw_counts_as_it_will_be_once_transformed(
    windows: Windows, world: World, point_bytes: int, growth: float
) -> None:
    """Nothing stops the transformer from turning it into something larger."""
    transformer = world.transformer()
    windows.plan(FEED, 0, 10 * STEP)
    for _ in range(2):
        window = must(live(windows, longest_ms=STEP))
        raw_bytes = 8192 - ENTRY_OVERHEAD_BYTES
        windows.commit(FEED, window, [windows.stage(b"x" * raw_bytes, 10, 60)])
    (entry,) = transformer.read(1, 0)
    points = Output(b"y" * (point_bytes - ENTRY_OVERHEAD_BYTES), 10)
    transformer.settle(entry, Settle(outputs=[points]), "transformer")
    windows.stage(b"x" * 8192, 10, 60)

    _, in_flight_bytes = windows.pressure(10**9, 1000)

    assert in_flight_bytes == allocated_bytes(point_bytes) + 2 * 8192 * growth


def test_at_maxmemory_nothing_is_staged_or_committed_by_halves(
    redis_client: Redis, clock: FakeClock
) -> None:
    windows = RedisWorld(redis_client, clock).windows()
    windows.plan(FEED, 0, 10 * STEP)
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

    assert redis_client.exists(Keys("win").stream(RAW)) == 0
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
            mine.plan(FEED, 0, min(steps, rng.randrange(1, steps * 2)) * STEP)
            window = mine.lease(FEED, rng.choice(["live", "catchup"]), 50 * STEP, 8 * STEP)
            if window is None:
                status = mine.status()["q@hot"]
                if status.watermark_ms == steps * STEP:
                    return
                with lock:
                    clock.ms += 5_000
                continue
            fate = rng.random()
            span = (window.end_ms - window.start_ms) // STEP
            if fate < 0.15:
                held.append(window)  # it dies, or wakes up late
            elif fate < 0.3 and span > 1:
                mine.split(FEED, window, window.start_ms + rng.randrange(1, span) * STEP)
            elif fate < 0.4:
                mine.retry(FEED, window, rng.uniform(0, 10))
            elif fate < 0.45:
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
    assert edges[-1][1] == steps * STEP
    assert all(left[1] == right[0] for left, right in itertools.pairwise(edges))
    status = WindowSet(redis_client, keys, now_ms=clock).status()["q@hot"]
    assert (status.backlog, status.open) == ([], [])
    assert Ledger(redis_client, keys, now_ms=clock).audit().imbalance_samples == 0


# -- reopening, rechecks, what the sink knows ---------------------------------------------------


def test_a_reopened_range_is_extracted_again_and_what_is_open_is_not_doubled(
    windows: Windows,
) -> None:
    windows.plan(FEED, 0, 30 * STEP)
    newest = must(live(windows))
    commit(windows, must(live(windows)))

    assert windows.reopen(FEED, 5 * STEP, 25 * STEP) == 10 * STEP

    status = windows.status()["q@hot"]
    assert status.backlog == [(0, 20 * STEP)]
    assert status.open == [bounds(newest)]
    assert windows.reopen(FEED, 0, 99 * STEP) == 0


@pytest.mark.parametrize(
    ("span", "expected"),
    [((2, 8), [(2, 8)]), ((-5, 3), [(0, 3)]), ((7, 99), [(7, 10)]), ((20, 30), []), ((5, 5), [])],
)
def test_reopening_stays_within_the_feed(
    windows: Windows, span: tuple[int, int], expected: list[tuple[int, int]]
) -> None:
    windows.plan(FEED, 0, 10 * STEP)
    commit(windows, must(live(windows)))

    windows.reopen(FEED, span[0] * STEP, span[1] * STEP)

    backlog = windows.status()["q@hot"].backlog
    assert backlog == [(first * STEP, last * STEP) for first, last in expected]


def test_a_feed_is_extended_back_to_what_the_sink_knows(windows: Windows) -> None:
    windows.plan(FEED, 50 * STEP, 60 * STEP)
    commit(windows, must(live(windows)))

    assert windows.reopen(FEED, 20 * STEP, 50 * STEP, extend=True) == 30 * STEP

    status = windows.status()["q@hot"]
    assert (status.origin_ms, status.backlog) == (20 * STEP, [(20 * STEP, 50 * STEP)])
    assert status.watermark_ms == 20 * STEP


def test_another_configurations_feed_is_not_reopened(windows: Windows) -> None:
    windows.plan(FEED, 0, 10 * STEP)

    assert windows.reopen(CHANGED, 0, 5 * STEP) is None


def test_rechecks_fall_due_and_are_forgotten(windows: Windows, clock: FakeClock) -> None:
    windows.plan(FEED, 0, 20 * STEP)
    for samples in (7, 3):
        window = must(live(windows))
        staged = [windows.stage(b"p", samples, 60)]
        windows.commit(FEED, window, staged, recheck_after_seconds=100, source_samples=samples + 1)
    assert windows.due_rechecks(FEED, 10) == []
    clock.ms += 100_000

    older, newer = windows.due_rechecks(FEED, 10)

    assert (older.start_ms, older.end_ms, older.samples) == (0, 10 * STEP, 4)
    assert (newer.start_ms, newer.end_ms, newer.samples) == (10 * STEP, 20 * STEP, 8)
    windows.forget_rechecks(FEED, [older])
    assert windows.reopen(FEED, newer.start_ms, newer.end_ms, done=[newer]) == 10 * STEP
    assert windows.due_rechecks(FEED, 10) == []


def test_the_first_word_of_the_sink_counts(windows: Windows) -> None:
    windows.set_sink_watermark("a@hot", 5000)
    windows.set_sink_watermark("a@hot", 9000)
    windows.set_sink_watermark("b@hot", None)

    assert windows.sink_watermarks() == {"a@hot": 5000, "b@hot": None}


def test_a_worker_from_before_redis_lost_everything_holds_nothing(world: World) -> None:
    windows = world.windows()
    windows.plan(FEED, 0, 10 * STEP)
    before = must(live(windows))
    world.lose_everything()
    windows = world.windows()
    windows.plan(FEED, 0, 10 * STEP)
    after = must(live(windows, longest_ms=2 * STEP))

    assert commit(windows, before) == "refused"
    assert not windows.retry(FEED, before, 0)

    assert commit(windows, after) == "committed"
