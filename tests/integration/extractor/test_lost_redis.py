"""A Redis that lost everything: feeds resume where the sink, or the source, says; on real Redis."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError

from common.state.windows import WindowSet
from tests.integration.extractor.recheck_world import (
    STEP_MS,
    Rig,
)


@pytest.fixture
def rig(redis_client: Redis) -> Rig:
    return Rig(redis_client)


def test_a_new_feed_begins_at_once_and_is_extended_to_the_sinks_watermark(
    rig: Rig,
) -> None:
    planner = rig.planner()
    planner.plan()
    assert rig.backlog() == [(80 * STEP_MS, 100 * STEP_MS)]
    assert not rig.windows.status()["raw@hot"].reconciled

    rig.windows.set_sink_watermark("raw@hot", 30 * STEP_MS + 400)
    planner.plan()

    status = rig.windows.status()["raw@hot"]
    assert status.backlog == [(30 * STEP_MS, 100 * STEP_MS)]
    assert (status.origin_ms, status.reconciled) == (30 * STEP_MS, True)


@pytest.mark.parametrize("watermark_ms", [None, 90 * STEP_MS])
def test_a_first_start_begins_a_lookback_ago(rig: Rig, watermark_ms: int | None) -> None:
    rig.windows.set_sink_watermark("raw@hot", watermark_ms)

    rig.planner().plan()

    status = rig.windows.status()["raw@hot"]
    assert (status.origin_ms, status.reconciled) == (80 * STEP_MS, True)


def test_a_feed_lost_under_a_living_planner_begins_at_the_sources_oldest_sample(rig: Rig) -> None:
    planner = rig.planner()
    rig.windows.set_sink_watermark("raw@hot", None)
    planner.plan()
    rig.redis.flushall()
    rig.source.lowest = 5 * STEP_MS
    rig.windows.set_sink_watermark("raw@hot", None)

    planner.plan()

    assert rig.windows.status()["raw@hot"].origin_ms == 5 * STEP_MS


class FailingOnce:
    """Planning a feed of ``windows`` fails once: before Redis has done it, or after."""

    def __init__(self, windows: WindowSet, error: RedisError, *, done: bool) -> None:
        self._plan, self._done = windows.plan, done
        self._errors = [error]

    def __call__(self, *args: Any, **options: Any) -> bool:
        if not self._errors:
            return self._plan(*args, **options)
        if self._done:
            self._plan(*args, **options)
        raise self._errors.pop()


def test_a_first_turn_that_redis_refused_has_planned_nothing_that_could_be_lost(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = rig.planner()
    failing = FailingOnce(rig.windows, OutOfMemoryError("used memory > maxmemory"), done=False)
    monkeypatch.setattr(rig.windows, "plan", failing)
    rig.source.lowest = 5 * STEP_MS
    rig.windows.set_sink_watermark("raw@hot", None)
    with pytest.raises(OutOfMemoryError):
        planner.plan()

    planner.plan()

    status = rig.windows.status()["raw@hot"]
    assert (status.origin_ms, status.reconciled) == (80 * STEP_MS, True), "a lookback ago"


def test_a_lost_feed_is_known_as_such_though_the_reply_to_its_planning_was_lost_too(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = rig.planner()
    rig.windows.set_sink_watermark("raw@hot", None)
    planner.plan()
    rig.redis.flushall()
    rig.source.lowest = 5 * STEP_MS
    rig.windows.set_sink_watermark("raw@hot", None)
    failing = FailingOnce(rig.windows, RedisConnectionError("reset by peer"), done=True)
    monkeypatch.setattr(rig.windows, "plan", failing)
    with pytest.raises(RedisConnectionError):
        planner.plan()

    planner.plan()

    assert rig.windows.status()["raw@hot"].origin_ms == 5 * STEP_MS
