"""Planning is wanted when something is due or a head moves, and at no other tick."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from common.config import Query
from common.runtime.telemetry import Telemetry
from common.state.keys import Keys
from common.state.windows import Feed
from services.extractor.planner import Due
from services.extractor.planning_pace import PlanningPace
from services.extractor.scheduler import Scheduler
from services.extractor.windows import Plan
from tests.support.captured_log import CapturedLog

NOTHING = Due(live=0, catchup=0)
NOW_MS = 1_700_000_400_000
TICK_SECONDS = 3.75


class World:
    """One query with a step of 15 s, settled for 30 s, and a clock."""

    def __init__(self) -> None:
        query = Query(name="q", select="up")
        feed = Feed("q", "hot", "select", "f")
        self.plan = Plan(feed, query, 15_000, 30_000, 0, 300_000, 3_600_000)
        self.seconds = 1_000.0
        self.pace = self.made(self.plan)

    def made(self, *plans: Plan) -> PlanningPace:
        return PlanningPace(plans, 15.0, (3600.0,), lambda: self.seconds)

    def ticks(self, count: int) -> list[bool]:
        """Whether planning is wanted at each of the next ticks."""
        found = []
        for _ in range(count):
            self.seconds += TICK_SECONDS
            found.append(self.pace.wanted())
        return found


@pytest.fixture
def world() -> World:
    return World()


def test_it_is_wanted_from_the_start(world: World) -> None:
    assert world.pace.wanted()


def test_where_nothing_is_due_it_waits_until_the_head_moves(world: World) -> None:
    world.pace.planned(NOTHING, NOW_MS)
    assert world.ticks(4) == [False, False, False, True]


def test_a_head_that_moves_between_two_ticks_is_waited_for(world: World) -> None:
    assert world.pace.next_seconds() == math.inf, "nothing is known at the start"
    world.pace.planned(NOTHING, NOW_MS + 3_000)
    assert world.pace.next_seconds() == pytest.approx(12.0)
    assert world.ticks(3) == [False, False, False], "just before it there is nothing to plan yet"
    assert world.pace.next_seconds() == pytest.approx(0.75)
    world.seconds += 0.75
    assert world.pace.wanted()
    assert world.pace.next_seconds() == math.inf, "ticks find what is late"
    world.pace.planned(Due(0, 1), NOW_MS)
    assert world.pace.next_seconds() == math.inf


def test_a_tick_just_before_the_head_moves_is_not_missed(world: World) -> None:
    world.pace.planned(NOTHING, NOW_MS + 2)
    world.seconds -= 0.01
    assert world.ticks(4) == [False, False, False, False]
    assert world.pace.next_seconds() == pytest.approx(0.008)
    world.seconds += 0.008
    assert world.pace.wanted()


def test_the_feed_whose_head_moves_first_decides(world: World) -> None:
    hourly = replace(world.plan, step_ms=3_600_000)
    world.pace = world.made(hourly, replace(world.plan, settle_ms=37_500))
    world.pace.planned(NOTHING, NOW_MS)
    assert world.ticks(2) == [False, True]


def test_an_interval_is_the_longest_that_a_backfill_goes_unseen(world: World) -> None:
    world.pace = world.made(replace(world.plan, step_ms=3_600_000))
    world.pace.planned(NOTHING, NOW_MS)
    assert world.ticks(4) == [False, False, False, True]


@pytest.mark.parametrize("due", [Due(0, 1), Due(0, 0, backfill=1), Due(0, 0, waiting=1), Due(1, 0)])
def test_while_something_is_due_it_is_wanted_at_each_tick(world: World, due: Due) -> None:
    world.pace.planned(due, NOW_MS)
    assert world.ticks(3) == [True, True, True]


def test_it_waits_once_what_was_live_is_extracted(world: World) -> None:
    world.pace.planned(Due(3, 0), NOW_MS)
    world.pace.live_is_extracted()
    assert world.ticks(4) == [False, False, False, True]


def test_what_failed_is_planned_again_at_the_next_tick(world: World) -> None:
    world.pace.planned(Due(3, 0), NOW_MS)
    world.pace.live_is_extracted()
    world.pace.failed()
    assert world.pace.wanted()


def test_recounts_are_looked_for_once_a_minute(world: World) -> None:
    assert world.pace.recheck_is_due()
    assert not world.pace.recheck_is_due()
    world.seconds += 59.0
    assert not world.pace.recheck_is_due()
    world.seconds += 1.0
    assert world.pace.recheck_is_due()


def test_early_recounts_are_late_by_a_tenth_of_their_delay(world: World) -> None:
    world.pace = PlanningPace((world.plan,), 15.0, (20.0,), lambda: world.seconds)
    assert world.pace.recheck_is_due()
    world.seconds += 2.0
    assert world.pace.recheck_is_due()


def test_a_redis_that_is_away_is_told_once_and_counted_each_time() -> None:
    stop, registry, log = threading.Event(), CollectorRegistry(), CapturedLog()
    told: list[tuple[str, bool]] = []

    def set_ready(name: str, ok: bool, detail: str) -> None:
        told.append((name, ok))
        if len(told) == 5:
            stop.set()

    Scheduler(Redis(host="127.0.0.1", port=9), Keys("etl")).plan_at_each_tick(
        0.01, stop, Telemetry("extractor", registry, logger=log), set_ready
    )
    assert told == [("scheduler", False)] * 5
    assert log.events == ["scheduling_failed"]
    assert registry.get_sample_value("etl_scheduler_errors_total") == 5
