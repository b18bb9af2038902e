"""Backfills on real Redis: what planning begins and joins, and in which order all is extracted."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from common.config import Query
from common.errors import SourceUnavailable
from common.state.backfills import Backfills, Part
from common.state.feeds import Range
from common.state.keys import RAW
from common.state.stream import RedisStream
from common.state.verdict import Settle
from services.extractor.history import NO_SAMPLES_MS
from services.extractor.jobs import Jobs
from services.extractor.planner import Due, Planner
from services.extractor.planning_pace import PlanningPace
from services.extractor.windows import Plan
from tests.integration.extractor.extraction_world import KEYS, STEP_MS, Rig, Source

ORIGIN_MS = 1000 * STEP_MS
# An expression looks five minutes back. The step that ends at the first whole moment is there.
FIRST_MS = 299 * STEP_MS


class World(Rig):
    """A feed from ``ORIGIN_MS`` on, whose query asks for a backfill if ``configured``."""

    def __init__(self, redis: Redis, *, configured: bool = True) -> None:
        source = Source()
        source.now, source.lowest = ORIGIN_MS + 20 * STEP_MS, 0
        super().__init__(redis, source)
        query = Query(name="q", expr="m", step=STEP_MS / 1000, backfill=configured)
        self.plan = replace(self.plan, query=query, lookback_ms=20 * STEP_MS)
        self.backfills = Backfills(redis, KEYS)
        self.planner = self.new_planner(self.plan)
        self.waiting: set[str] = set()
        self.scheduled: list[str] = []
        self.seconds = 0.0

    def new_planner(self, *plans: Plan) -> Planner:
        return Planner(plans, self.windows, self.history, self.telemetry, close_after_seconds=0.0)

    def planned(self) -> Due:
        """Planned, with the sink's watermark known, as a loader would report it."""
        self.planner.plan()
        self.windows.set_sink_watermark("q@hot", None)
        self.planner.plan()  # reconciles
        return self.planner.plan()

    def jobs(self) -> Jobs:
        world = self

        class Scheduled:
            def waiting(self, *names: str) -> bool:
                return bool(world.waiting & set(names))

            def schedule(self, name: str, jobs: int) -> None:
                world.scheduled.append(name)

        class Flowing:
            def paused(self) -> bool:
                return False

        anything: Any = None
        scheduler: Any = Scheduled()
        pressure: Any = Flowing()

        def clock() -> float:
            self.seconds += 0.1
            return self.seconds

        return Jobs(
            plans=self.planner.plans,
            planner=self.planner,
            extractor=self.extractor,
            rechecker=anything,
            server=anything,
            windows=self.windows,
            scheduler=scheduler,
            pace=PlanningPace(self.planner.plans, 1.0),
            pressure=pressure,
            telemetry=self.telemetry,
            stop=threading.Event(),
            tick=lambda: None,
            on_source=self.states.append,
            clock=clock,
        )

    def settle(self) -> None:
        stream = RedisStream(self.redis, KEYS, RAW, "reader")
        stream.ensure()
        for entry in stream.read(1000, 0.0):
            stream.settle(entry, Settle(drops={"nan": entry.samples}), "transformer")

    @property
    def part(self) -> Part:
        (part,) = self.backfills.parts()
        return part

    @property
    def origin_ms(self) -> int:
        return self.windows.status()["q@hot"].origin_ms


@pytest.fixture
def world(redis_client: Redis) -> World:
    return World(redis_client)


def test_a_configured_one_is_begun_once_and_takes_all_that_the_source_has(world: World) -> None:
    world.source.lowest = 100 * STEP_MS
    due = world.planned()
    assert world.part.coming == [(100 * STEP_MS + FIRST_MS, ORIGIN_MS)]
    assert due.backfill == 1
    world.backfills.change(world.part.backfill, "cancelled")
    world.planner.plan()
    assert world.backfills.parts() == []


def test_none_is_begun_unless_it_is_configured(redis_client: Redis) -> None:
    world = World(redis_client, configured=False)
    assert world.planned().backfill == 0
    assert world.backfills.all() == []


def test_none_is_begun_where_nobody_knows_what_the_source_has(world: World) -> None:
    world.source.lowest = None
    world.planned()
    assert world.backfills.all() == []


def test_a_source_that_has_nothing_yet_is_waited_for(world: World) -> None:
    world.planner.plan()
    world.windows.set_sink_watermark("q@hot", None)
    world.source.lowest = NO_SAMPLES_MS
    world.planner.plan()
    world.planner.plan()
    assert world.backfills.all() == []
    world.source.lowest = 0
    world.planner.plan()
    assert world.part.coming == [(FIRST_MS, ORIGIN_MS)]


def test_it_takes_no_more_than_the_sink_keeps(world: World) -> None:
    world.plan = replace(world.plan, retention_ms=500 * STEP_MS)
    world.planner = world.new_planner(world.plan)
    world.planned()
    assert world.part.coming == [(520 * STEP_MS, ORIGIN_MS)]


def test_windows_are_long_and_what_they_give_belongs_to_the_query(world: World) -> None:
    world.planned()
    world.jobs().backfill()

    assert world.source.reads == [
        (960 * STEP_MS, ORIGIN_MS),
        (720 * STEP_MS, 960 * STEP_MS),
        (480 * STEP_MS, 720 * STEP_MS),
        (FIRST_MS, 480 * STEP_MS),
    ]
    assert world.extracted() == 701
    world.settle()
    world.planner.plan()
    assert world.origin_ms == FIRST_MS
    assert world.backfills.parts() == []
    assert world.planner.plan() == Due(1, 0, 0)


def test_what_is_fresher_comes_first(world: World) -> None:
    world.planned()
    for name in ("plan", "live", "catchup"):
        world.waiting = {name}
        world.source.reads.clear()
        world.jobs().backfill()
        assert len(world.source.reads) <= 3
    assert set(world.scheduled) == {"backfill"}


def test_it_waits_while_much_is_in_flight(world: World) -> None:
    world.plan = replace(world.plan, catchup_ms=10 * STEP_MS)
    world.planner = world.new_planner(world.plan)
    world.planned()
    world.jobs().backfill()
    assert len(world.source.reads) == 16
    assert world.scheduled == ["backfill"]
    world.settle()
    world.jobs().backfill()
    assert len(world.source.reads) == 32


def test_a_source_that_is_away_holds_its_part_and_no_feed(world: World) -> None:
    world.planned()
    world.source.failure = SourceUnavailable("is away")
    world.jobs().backfill()
    assert world.part.attempts == 1
    assert world.part.coming == [(FIRST_MS, ORIGIN_MS)]
    status = world.windows.status()["q@hot"]
    assert status.attempts == 0
    window = world.windows.lease(world.plan.feed, "live", 10**9, 10**9)
    assert window is not None


def test_what_the_source_deletes_meanwhile_is_left_out_and_no_gap(world: World) -> None:
    world.planned()
    world.source.lowest = 500 * STEP_MS
    jobs = world.jobs()
    for _ in range(8):
        jobs.backfill()
    assert world.part.coming == []
    (found,) = world.backfills.all()
    assert found.state == "done"
    assert found.gap_ms == 500 * STEP_MS
    assert world.windows.gaps("q@hot") == []
    assert world.value("etl_gap_seconds_total", query="q", tier="hot") == 0
    world.settle()
    world.planner.plan()
    assert world.origin_ms == FIRST_MS + 500 * STEP_MS


def test_another_configuration_extracts_the_rest(world: World) -> None:
    world.plan = replace(world.plan, catchup_ms=10 * STEP_MS)
    world.planner = world.new_planner(world.plan)
    world.planned()
    world.jobs().backfill()
    before = world.part.coming
    changed = replace(world.plan, feed=replace(world.plan.feed, fingerprint="f2"))
    world.planner = world.new_planner(changed)
    world.planner.plan()
    assert world.part.fingerprint == "f2"
    assert world.part.coming == before
    old = world.plan.of(world.part)
    assert world.windows.lease(old.feed, "catchup", 0, 10**9) is None


def test_a_query_that_is_removed_takes_its_part_along(world: World) -> None:
    world.planned()
    world.new_planner(replace(world.plan, feed=replace(world.plan.feed, query="other"))).plan()
    assert world.backfills.parts() == []


def ranges(*bounds: Range) -> list[Range]:
    return [(start * STEP_MS, end * STEP_MS) for start, end in bounds]


def test_one_feed_has_several(world: World) -> None:
    world.plan = replace(world.plan, query=world.plan.query.model_copy(update={"backfill": False}))
    world.planner = world.new_planner(world.plan)
    world.planned()
    for wanted in ranges((0, 100), (500, 1000)):
        world.backfills.create({world.plan.feed: [wanted]}, *wanted)
    world.jobs().backfill()
    assert {tuple(part.extracted) for part in world.backfills.parts()} == {
        tuple(ranges((0, 100))),
        tuple(ranges((500, 1000))),
    }
    world.settle()
    world.planner.plan()
    assert world.origin_ms == 500 * STEP_MS
    assert [part.extracted for part in world.backfills.parts()] == [ranges((0, 100))]
