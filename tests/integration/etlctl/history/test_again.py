"""Which time is put back into a feed's backlog, on a real Redis."""

from __future__ import annotations

import pytest
from redis import Redis

from common.config import Settings
from common.errors import ConfigError, EtlError
from common.state.backfills import Backfills
from common.state.keys import Keys
from common.state.windows import WindowSet
from etlctl.history.again import (
    AFTER_HEAD,
    BEFORE_ORIGIN,
    NOT_KEPT,
    Opened,
    chosen,
    open_again,
    wait_until_loaded,
    waiting_ms,
)
from etlctl.times import Clock
from services.extractor.windows import Plan

STEP_MS = 15_000
ORIGIN_MS, HEAD_MS = 100 * STEP_MS, 200 * STEP_MS
# So far an expression looks back.
LOOKBACK_MS = 300_000


def settings_of(expr: str = "load") -> Settings:
    queries = [{"name": "raw", "expr": expr, "step": "15s"}]
    sink = {"url": "http://127.0.0.1:9", "token": "t", "org": "o", "bucket": "b"}
    return Settings.model_validate(
        {
            "extract": {"prometheus_url": "http://127.0.0.1:9", "queries": queries},
            "load": {"influxdb": sink},
            "pipeline": {"redis_url": "redis://127.0.0.1:9"},
        }
    )


@pytest.fixture
def plan() -> Plan:
    (found,) = chosen(settings_of(), ["raw"], ["hot"])
    return found


@pytest.fixture
def windows(redis_client: Redis, redis_namespace: str, plan: Plan) -> WindowSet:
    """A feed all of whose time is committed, without samples."""
    made = WindowSet(redis_client, Keys(redis_namespace))
    assert made.plan(plan.feed, ORIGIN_MS, HEAD_MS)
    while window := made.lease(plan.feed, "catchup", 0, HEAD_MS):
        assert made.commit(plan.feed, window, []) == "committed"
    assert made.status()["raw@hot"].backlog == []
    return made


def left_out(opened: Opened) -> list[tuple[int, int, str]]:
    return [(left.start_ms, left.end_ms, left.why) for left in opened.left_out]


def test_a_range_is_widened_to_whole_steps(windows: WindowSet, plan: Plan) -> None:
    inside = (110 * STEP_MS + 1, 112 * STEP_MS - 1)
    opened = open_again(windows, plan, [inside], 0)
    assert opened.ranges == [(110 * STEP_MS, 112 * STEP_MS)]
    assert (opened.added_ms, left_out(opened)) == (2 * STEP_MS, [])
    assert windows.status()["raw@hot"].backlog == opened.ranges
    assert waiting_ms(windows, [opened]) == 2 * STEP_MS
    assert open_again(windows, plan, [inside], 0).added_ms == 0


def test_what_is_extracted_again_is_compared_at_once(windows: WindowSet, plan: Plan) -> None:
    """No recount of it holds the verifier up."""
    open_again(windows, plan, [(110 * STEP_MS, 112 * STEP_MS)], 0)
    window = windows.lease(plan.feed, "catchup", 0, HEAD_MS)
    assert window is not None
    assert windows.commit(plan.feed, window, [], recheck_after_seconds=(60.0,)) == "committed"
    assert windows.redis.zcard(windows.keys.rechecks(plan.feed.name)) == 0


def test_only_time_of_the_feed_is_put_back(windows: WindowSet, plan: Plan) -> None:
    opened = open_again(windows, plan, [(0, HEAD_MS + STEP_MS)], 0)
    assert opened.ranges == [(ORIGIN_MS, HEAD_MS)]
    assert left_out(opened) == [
        (0, ORIGIN_MS, BEFORE_ORIGIN),
        (HEAD_MS, HEAD_MS + STEP_MS, AFTER_HEAD),
    ]


def test_what_the_source_deleted_would_become_a_gap(windows: WindowSet, plan: Plan) -> None:
    bound_ms = 150 * STEP_MS
    lowest_ms = bound_ms + 1 - LOOKBACK_MS
    opened = open_again(windows, plan, [(ORIGIN_MS, HEAD_MS)], lowest_ms)
    assert opened.ranges == [(bound_ms, HEAD_MS)]
    assert left_out(opened) == [(ORIGIN_MS, bound_ms, NOT_KEPT)]
    gone = open_again(windows, plan, [(ORIGIN_MS, 120 * STEP_MS)], lowest_ms)
    assert (gone.ranges, gone.added_ms) == ([], 0)


def test_a_source_as_young_as_the_feed_has_deleted_nothing(windows: WindowSet, plan: Plan) -> None:
    opened = open_again(windows, plan, [(ORIGIN_MS, HEAD_MS)], ORIGIN_MS + STEP_MS)
    assert opened.ranges == [(ORIGIN_MS, HEAD_MS)]


def load_before(windows: WindowSet, plan: Plan, *ranges: tuple[int, int]) -> Backfills:
    """Have a backfill load ranges before the feed's origin."""
    windows.set_reconciled(plan.feed)
    backfills = Backfills(windows.redis, windows.keys)
    backfills.create({plan.feed: ranges}, 0, ORIGIN_MS)
    extract_all(windows, plan)
    return backfills


def extract_all(windows: WindowSet, plan: Plan) -> None:
    """Extract all of the feed and its backfills, without samples."""
    parts = Backfills(windows.redis, windows.keys).parts()
    for feed in (plan.feed, *(part.of(plan.feed) for part in parts)):
        while window := windows.lease(feed, "catchup", 0, HEAD_MS):
            assert windows.commit(feed, window, []) == "committed"


def test_what_a_backfill_has_loaded_is_extracted_again_by_another(
    windows: WindowSet, plan: Plan
) -> None:
    backfills = load_before(windows, plan, (20 * STEP_MS, 40 * STEP_MS))
    opened = open_again(windows, plan, [(30 * STEP_MS, ORIGIN_MS + STEP_MS)], 0)
    assert opened.ranges == [(30 * STEP_MS, 40 * STEP_MS), (ORIGIN_MS, ORIGIN_MS + STEP_MS)]
    assert left_out(opened) == [(40 * STEP_MS, ORIGIN_MS, BEFORE_ORIGIN)]
    assert opened.added_ms == waiting_ms(windows, [opened]) == 11 * STEP_MS
    (again,) = [part for part in backfills.parts() if part.coming]
    assert again.coming == [(30 * STEP_MS, 40 * STEP_MS)]
    assert windows.status()["raw@hot"].backlog == [(ORIGIN_MS, ORIGIN_MS + STEP_MS)]

    twice = open_again(windows, plan, [(30 * STEP_MS, ORIGIN_MS + STEP_MS)], 0)
    assert (twice.ranges, twice.added_ms) == (opened.ranges, 0)
    extract_all(windows, plan)
    assert waiting_ms(windows, [opened]) == 0


def test_of_what_a_backfill_has_loaded_only_what_the_source_has_is_extracted_again(
    windows: WindowSet, plan: Plan
) -> None:
    load_before(windows, plan, (20 * STEP_MS, 40 * STEP_MS))
    lowest_ms = 30 * STEP_MS + 1 - LOOKBACK_MS
    opened = open_again(windows, plan, [(20 * STEP_MS, 40 * STEP_MS)], lowest_ms)
    assert opened.ranges == [(30 * STEP_MS, 40 * STEP_MS)]
    assert left_out(opened) == [(20 * STEP_MS, 30 * STEP_MS, NOT_KEPT)]


def test_a_feed_of_another_configuration_is_left_alone(windows: WindowSet, plan: Plan) -> None:
    with pytest.raises(EtlError, match="raw@hot: another configuration is in force"):
        open_again(windows, chosen(settings_of("load > 1"), (), ())[0], [(ORIGIN_MS, HEAD_MS)], 0)
    assert windows.status()["raw@hot"].backlog == []


def test_a_feed_that_was_never_planned_is_said(
    redis_client: Redis, redis_namespace: str, plan: Plan
) -> None:
    with pytest.raises(EtlError, match="raw@hot: was never planned"):
        open_again(WindowSet(redis_client, Keys(redis_namespace)), plan, [(0, STEP_MS)], 0)


def test_the_wait_ends_with_what_is_loaded_or_with_its_time(windows: WindowSet, plan: Plan) -> None:
    opened = open_again(windows, plan, [(ORIGIN_MS, HEAD_MS)], 0)
    slept: list[float] = []

    def work(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3 and (window := windows.lease(plan.feed, "catchup", 0, HEAD_MS)):
            windows.commit(plan.feed, window, [])

    clock = Clock(monotonic=lambda: sum(slept), sleep=work)
    assert not wait_until_loaded(windows, [opened], 0.1, clock=clock)
    left: list[int] = []
    assert wait_until_loaded(windows, [opened], 60, left.append, clock)
    assert (left[0], left[-1]) == (HEAD_MS - ORIGIN_MS, 0)


def test_unknown_names_are_refused() -> None:
    settings = settings_of()
    with pytest.raises(ConfigError, match="--query nope: is not configured; there are raw"):
        chosen(settings, ["nope"], ())
    with pytest.raises(ConfigError, match="--tier warm: is not configured; there are hot"):
        chosen(settings, ["raw"], ["warm"])
