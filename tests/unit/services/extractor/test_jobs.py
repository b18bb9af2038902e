"""What a turn of planning leaves to other workers, and what it goes on with by itself."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.exceptions import RedisError

from common.errors import SourceUnavailable
from common.runtime.telemetry import Telemetry
from common.state.windows import Feed
from services.extractor.jobs import Jobs
from services.extractor.planner import Due
from services.extractor.planning_pace import PlanningPace


class World:
    """Jobs whose planning finds ``due``; notes what is scheduled and which windows are leased."""

    def __init__(self, due: Due, failure: Exception | None = None) -> None:
        self.due, self.failure, self.paused = due, failure, False
        self.scheduled: list[tuple[str, int, int]] = []
        self.leased: list[str] = []
        plans: Any = [SimpleNamespace(feed=Feed("q", "hot", "select", "f"), live_ms=1)]
        anything: Any = SimpleNamespace(
            check=lambda: None,
            plan=self._plan,
            source_ms=0,
            origin_ms=lambda _: 0,
            lengths=SimpleNamespace(longest_ms=lambda *_: 1),
            lease=lambda _feed, window_class, *_: self.leased.append(window_class),
            paused=lambda: self.paused,
            schedule=lambda name, jobs, busy=0: self.scheduled.append((name, jobs, busy)),
        )
        plans[0].next_head_at_ms = lambda now_ms: now_ms
        self.jobs = Jobs(
            plans=plans,
            planner=anything,
            extractor=anything,
            rechecker=anything,
            server=anything,
            windows=anything,
            scheduler=anything,
            pace=PlanningPace(plans, 1.0),
            pressure=anything,
            telemetry=Telemetry("extractor", CollectorRegistry()),
            stop=threading.Event(),
            tick=lambda: None,
            on_source=lambda _: None,
        )

    def _plan(self) -> Due:
        if self.failure is not None:
            raise self.failure
        return self.due


def test_planning_goes_on_with_live_windows_and_leaves_the_rest_to_jobs() -> None:
    world = World(Due(live=3, catchup=1, backfill=2))
    world.jobs.plan()
    assert world.leased == ["live"]
    assert world.scheduled[:3] == [("live", 2, 1), ("catchup", 1, 0), ("backfill", 2, 0)]


@pytest.mark.parametrize("failure", [SourceUnavailable("away"), RedisError("away")])
def test_nothing_is_extracted_where_planning_failed(failure: Exception) -> None:
    world = World(Due(live=1, catchup=0), failure)
    world.jobs.plan()
    assert (world.leased, world.scheduled) == ([], [])


def test_nothing_is_extracted_where_nothing_is_due_or_all_pauses() -> None:
    idle, paused = World(Due(live=0, catchup=1)), World(Due(live=1, catchup=0))
    paused.paused = True
    for world in (idle, paused):
        world.jobs.plan()
        assert world.leased == []
