"""A source whose clock is wrong for a while: no window is committed before its time."""

from __future__ import annotations

import pytest
from redis import Redis

from services.extractor.extract import Outcome
from services.extractor.planner import Planner
from services.extractor.source.clock import TOLERANCE_SECONDS, ClockReading, SourceClock
from services.extractor.source.scrape_settings import Settle
from tests.integration.extractor.extraction_world import STEP_MS, Rig, Source

TURN_SECONDS = 2


class World:
    """One pipeline whose source has samples up to the true time, whatever its clock says."""

    def __init__(self, redis: Redis) -> None:
        self.true_ms = 100 * STEP_MS
        self.ahead_ms = 0
        # Of no help, unless a test says so.
        self.own_ahead_ms = 3_600_000
        self.source = Source()
        self.source.until_ms = lambda: self.true_ms
        self.rig = Rig(redis, self.source)
        clock = SourceClock(
            lambda: ClockReading(self.true_ms + self.ahead_ms),
            monotonic=lambda: self.true_ms / 1000,
            own_ms=lambda: self.true_ms + self.own_ahead_ms,
        )
        self.rig.history.now_ms = clock.check
        self.rig.extractor.believed_ms = clock.believed_ms
        self.planner = self.new_planner()

    def new_planner(self) -> Planner:
        rig = self.rig
        return Planner([rig.plan], rig.windows, rig.history, rig.telemetry, close_after_seconds=0.0)

    def turn(self) -> list[Outcome]:
        """Plan, and extract what there is."""
        self.true_ms += TURN_SECONDS * 1000
        self.planner.plan()
        return self.extract()

    def extract(self) -> list[Outcome]:
        rig, outcomes = self.rig, []
        while window := rig.windows.lease(rig.plan.feed, "live", 10**9, 10**9):
            outcomes.append(rig.run(window))
        return outcomes


@pytest.fixture
def world(redis_client: Redis) -> World:
    return World(redis_client)


def test_a_clock_that_is_ahead_for_seconds_costs_no_sample(world: World) -> None:
    for turn in range(30):
        world.ahead_ms = 60_000 if 10 <= turn < 13 else 0
        world.turn()
    # 50 steps of lookback at the first turn, and what came since.
    assert world.rig.extracted() == 50 + 29 * TURN_SECONDS
    assert world.rig.status == ([], [])
    assert world.rig.value("etl_windows_retried_total", query="q", tier="hot") == 0


def test_a_clock_that_stays_ahead_is_followed_up_to_the_tolerance(world: World) -> None:
    """What the source evaluates then is empty, or not whole: committed, it would be lost."""
    world.own_ahead_ms = 0
    world.turn()
    world.ahead_ms = 40_000
    for _ in range(30):
        world.turn()
        head_ms = world.rig.windows.status()["q@hot"].head_ms
        assert head_ms <= world.true_ms + TOLERANCE_SECONDS * 1000
    assert head_ms == world.true_ms + TOLERANCE_SECONDS * 1000


def test_what_another_extractor_planned_too_far_is_not_read_before_its_time(world: World) -> None:
    world.turn()
    known = world.rig.extracted()
    # An extractor that has just been started: it knows no other reading than a wrong one.
    ahead_ms = world.true_ms + 60 * STEP_MS
    world.rig.windows.plan(world.rig.plan.feed, 0, ahead_ms)
    world.true_ms += 5 * STEP_MS

    assert world.extract() == [Outcome.SPLIT, Outcome.OPEN, Outcome.COMMITTED]

    assert world.rig.extracted() == known + 5
    assert world.rig.status == ([], [(world.true_ms, ahead_ms)])
    assert world.rig.value("etl_windows_retried_total", query="q", tier="hot") == 1


def test_a_worker_that_does_not_know_how_long_samples_settle_takes_what_was_planned(
    redis_client: Redis,
) -> None:
    """One that knows has planned it; where this one knows better, it waits."""
    rig = Rig(redis_client, Source())
    window = rig.lease()
    rig.extractor.believed_ms = lambda wanted_ms: window.end_ms
    rig.plan.settle_ms, rig.plan.settle_known = 30_000, False
    assert rig.run(window) is Outcome.COMMITTED

    window = rig.lease(20 * STEP_MS)
    rig.plan.settle(Settle(20 * STEP_MS / 1000, "so"))
    assert rig.run(window) is Outcome.OPEN
