"""A stretch that cannot be read stops nothing else, is tried again, and is told; on real Redis."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from common.config import Query
from common.errors import QueryRejected, QueryTooLarge, SourceError
from common.state.windows import Feed, WindowClass
from devtools.servers.prometheus_server import PrometheusServer
from services.extractor.extract import Outcome
from tests.integration.extractor import pushed_world
from tests.integration.extractor.extraction_world import SETTINGS, STEP_MS, Rig, Source
from tests.integration.extractor.pushed_world import STEPS
from tests.support.remote_write import push, sample, series

BAD = range(40 * STEP_MS, 61 * STEP_MS, STEP_MS)
LIVE_MS = 20 * STEP_MS
FAILURES = [
    pytest.param(QueryTooLarge("too many samples"), id="too large"),
    pytest.param(QueryRejected("many-to-many matching not allowed"), id="rejected"),
]


class Clock:
    ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


class World(Rig):
    """A feed whose steps 40 to 60 cannot be read; two windows of a class may be open."""

    def __init__(self, redis: Redis, failure: SourceError) -> None:
        self.redis_clock = Clock()
        super().__init__(redis, Source(), max_open=2, now_ms=self.redis_clock)
        self.source.failure, self.source.bad_ms = failure, BAD

    def work(self, window_class: WindowClass) -> Outcome | None:
        """The next window of a class, if there is one."""
        longest_ms = LIVE_MS if window_class == "live" else 240 * STEP_MS
        window = self.windows.lease(self.plan.feed, window_class, LIVE_MS, longest_ms)
        return None if window is None else self.run(window)

    def turn(self, head: int) -> None:
        """As an extractor does at each turn: live first, then catch-up, each until none is left."""
        self.windows.plan(self.plan.feed, 0, head * STEP_MS)
        self.redis_clock.ms += round(SETTINGS.backoff_max_seconds * 1000) + 1000
        classes: tuple[WindowClass, ...] = ("live", "catchup")
        for window_class in classes:
            for _ in range(500):
                if self.work(window_class) is None:
                    break
            else:
                pytest.fail("it never ends")

    @property
    def missing(self) -> list[tuple[int, int]]:
        found = self.windows.status()["q@hot"]
        return [(s // STEP_MS, e // STEP_MS) for s, e in sorted((*found.backlog, *found.open))]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_past_stretch_that_cannot_be_read_stops_nothing_else(
    redis_client: Redis, failure: SourceError
) -> None:
    world = World(redis_client, failure)

    for head in range(300, 420):
        world.turn(head)
        # What is fresh is there at once, whatever waits.
        assert world.missing[-1][1] < head

    # What lies before and after the bad stretch is extracted, to the step.
    assert world.missing == [(39, 60)]
    status = world.windows.status()["q@hot"]
    assert status.deferred == status.backlog
    assert status.attempts > 8, "EtlWindowFailing"
    assert len(status.open) == 0
    assert world.redis.hlen("x:windows:q@hot") == 0
    assert world.extracted() == 419 - 21


@pytest.mark.parametrize("failure", FAILURES)
def test_it_is_extracted_once_it_can_be_read(redis_client: Redis, failure: SourceError) -> None:
    world = World(redis_client, failure)
    for head in range(300, 400):
        world.turn(head)
    assert world.missing == [(39, 60)]
    world.source.failure = None

    world.turn(400)
    world.turn(401)

    status = world.windows.status()["q@hot"]
    assert (world.missing, status.attempts, status.deferred) == ([], 0, [])
    assert world.extracted() == 401


def test_one_step_that_stays_bad_keeps_no_other_from_being_tried(redis_client: Redis) -> None:
    world = World(redis_client, QueryTooLarge("too many samples"))
    for head in range(300, 310):
        world.turn(head)
    assert world.missing == [(39, 60)]
    # The newest of them, which is tried first, stays as it is.
    world.source.bad_ms = range(60 * STEP_MS, 61 * STEP_MS)

    for head in range(310, 330):
        world.turn(head)

    assert world.missing == [(59, 60)]


def test_a_live_step_that_is_too_large_stops_nothing_else(redis_client: Redis) -> None:
    world = World(redis_client, QueryTooLarge("too many samples"))
    for head in range(30, 120):
        world.turn(head)
        fresh = head not in range(40, 61)
        assert (world.missing[-1:] and world.missing[-1][1] == head) != fresh

    assert world.missing == [(39, 60)]


def test_what_is_deferred_and_then_deleted_becomes_gaps(redis_client: Redis) -> None:
    world = World(redis_client, QueryTooLarge("too many samples"))
    world.source.lowest = 1
    for head in range(300, 310):
        world.turn(head)
    world.source.failure, world.source.lowest = None, 100 * STEP_MS + 1

    for head in range(310, 315):
        world.turn(head)

    assert world.missing == []
    gaps = world.windows.gaps("q@hot")
    assert sum(gap.end_ms - gap.start_ms for gap in gaps) == 21 * STEP_MS


def test_a_feed_that_is_taken_over_cuts_it_anew(redis_client: Redis) -> None:
    world = World(redis_client, QueryTooLarge("too many samples"))
    for head in range(300, 305):
        world.turn(head)
    changed = Feed("q", "hot", "expr", "f2")

    assert world.windows.plan(changed, 0, 305 * STEP_MS, adopt=True)

    status = world.windows.status()["q@hot"]
    assert (status.deferred, status.attempts) == ([], 0)
    assert (39 * STEP_MS, 60 * STEP_MS) in status.backlog


def test_a_stretch_that_a_real_server_refuses_stops_nothing_else(
    redis_client: Redis, make_prometheus: Callable[..., PrometheusServer]
) -> None:
    """Twenty steps of it are more than the server's own limit on samples."""
    server = make_prometheus(flags=("--web.enable-remote-write-receiver", "--query.max-samples=50"))
    rig = pushed_world.Rig(redis_client, server, Query(name="raw", select="x").bound(1, {}))
    rig.windows.max_open = 2
    origin_ms = rig.now_ms - STEPS * STEP_MS
    times = [origin_ms + step * STEP_MS for step in range(1, STEPS + 1)]
    push(
        server,
        series({"__name__": "x", "n": "all"}, [sample(ms, 1) for ms in times]),
        *(
            series({"__name__": "x", "n": str(n)}, [sample(ms, 1) for ms in times[10:30]])
            for n in range(60)
        ),
    )
    rig.windows.plan(rig.plan.feed, origin_ms, rig.now_ms)
    classes: tuple[WindowClass, ...] = ("live", "catchup")
    for window_class in classes:
        for _ in range(500):
            window = rig.windows.lease(rig.plan.feed, window_class, 10 * STEP_MS, 10 * STEP_MS)
            if window is None:
                break
            rig.extractor.run(rig.plan, window, origin_ms)

    status = rig.windows.status()[rig.plan.feed.name]
    ((start_ms, end_ms),) = status.deferred
    # Prometheus 2 reads the last of them with the step behind it, too.
    assert (start_ms, end_ms) in ((times[9], times[29]), (times[9], times[30]))
    assert status.backlog == status.deferred
    behind = (end_ms - origin_ms) // STEP_MS + 1
    assert rig.entries().keys() == {*range(1, 11), *range(behind, STEPS + 1)}
    assert status.attempts >= 20
