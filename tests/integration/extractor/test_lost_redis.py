"""A Redis that lost everything: feeds resume where the sink, or the source, says; on real Redis."""

from __future__ import annotations

import pytest
from redis import Redis

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
