"""Backfills and catching up of several tiers of one query, by the job that extracts them."""

from __future__ import annotations

from dataclasses import replace

from redis import Redis

from common.samples.rollup import Rollup
from common.state.feeds import Feed
from services.extractor.windows import Plan
from tests.integration.backfills.test_extraction import FIRST_MS, ORIGIN_MS, World
from tests.integration.extractor.extraction_world import STEP_MS

RESOLUTIONS_MS = {"warm": 60 * STEP_MS, "cold": 240 * STEP_MS}
READS = [
    (960 * STEP_MS, ORIGIN_MS),
    (720 * STEP_MS, 960 * STEP_MS),
    (480 * STEP_MS, 720 * STEP_MS),
    (FIRST_MS, 480 * STEP_MS),
]


def tiers_of(world: World) -> list[Plan]:
    hot = replace(world.plan, head_step_ms=STEP_MS)
    return [hot] + [
        replace(
            hot,
            feed=Feed("q", tier, "expr", "f"),
            step_ms=resolution_ms,
            live_ms=0,
            head_step_ms=hot.catchup_ms,
            rollup=Rollup.of(resolution_ms, ["max"]),
        )
        for tier, resolution_ms in RESOLUTIONS_MS.items()
    ]


def test_backfills_of_all_tiers_are_read_at_once(redis_client: Redis) -> None:
    world = World(redis_client)
    plans = tiers_of(world)
    world.planner = world.new_planner(*plans)
    for plan in plans:
        world.windows.set_sink_watermark(plan.feed.name, None)
    world.planner.plan()
    world.planner.plan()
    assert len(world.backfills.parts()) == 3

    world.jobs().backfill()

    assert not any(part.coming for part in world.backfills.parts())
    # The first bucket of warm begins later than hot does, so that its window does.
    assert world.source.reads == [*READS, (300 * STEP_MS, 480 * STEP_MS)]
    assert world.extracted() == 701 + 660 + 480


def test_what_is_caught_up_with_is_read_at_once(redis_client: Redis) -> None:
    world = World(redis_client, configured=False)
    plans = [replace(plan, lookback_ms=10 * ORIGIN_MS) for plan in tiers_of(world)]
    world.source.lowest = 1
    plans[0] = replace(plans[0], live_ms=20 * STEP_MS)
    world.planner = world.new_planner(*plans)
    world.planner.plan()

    world.jobs().extract("catchup")

    # One after the other leads; what is live is left.
    starts = [*range(0, ORIGIN_MS, 240 * STEP_MS)]
    ends = [*starts[1:], ORIGIN_MS]
    assert sorted(world.source.reads) == [*zip(starts, ends, strict=True)]
    assert world.extracted() == 1000 + 960 + 960
