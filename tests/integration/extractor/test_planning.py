"""Planning on real Redis: feeds follow the source's clock and the configuration."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import Mock

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from common.state.history import changes_of
from common.state.windows import Feed, FeedStatus, WindowSet
from services.extractor.history import ServerRun
from services.extractor.planner import Planner
from services.extractor.source.scrape_settings import Settle
from services.extractor.windows import Plan
from tests.integration.extractor.extraction_world import STEP_MS, Rig, Source


@pytest.fixture
def rig(redis_client: Redis) -> Rig:
    return Rig(redis_client, Source())


def planner(rig: Rig, *plans: Plan, configured: frozenset[str] = frozenset()) -> Planner:
    return Planner(
        plans or (rig.plan,),
        rig.windows,
        rig.history,
        rig.telemetry,
        close_after_seconds=0.0,
        configured=configured,
    )


def test_planning_follows_the_sources_clock(rig: Rig) -> None:
    planning = planner(rig)
    due = planning.plan()
    assert (due.live, due.catchup) == (1, 0)
    assert rig.status == ([(50 * STEP_MS, 100 * STEP_MS)], [])

    rig.source.now += 7 * STEP_MS + 500
    planning.plan()

    assert rig.status == ([(50 * STEP_MS, 107 * STEP_MS)], [])
    known = rig.windows.status()["q@hot"]
    assert known.watermark_ms == 50 * STEP_MS
    # Who does not know the configuration can tell all the same whether the feed is behind.
    assert known.lag_limit_ms == rig.plan.lag_limit_ms > 0
    assert (known.settle_ms, known.settle_why) == (rig.plan.settle_ms, "configured")


def test_nothing_is_planned_twice_or_left_out_where_samples_settle_for_another_time(
    rig: Rig,
) -> None:
    """A head waits until the longer time has passed, and a window of a shorter one is longer."""
    planning = planner(rig)
    planning.plan()
    for settle_steps, passed_steps, head_step in (
        (5, 0, 100),
        (5, 4, 100),
        (5, 2, 101),
        (1, 0, 105),
    ):
        rig.plan.settle(Settle(settle_steps * STEP_MS / 1000, "so"))
        rig.source.now += passed_steps * STEP_MS
        planning.plan()
        assert rig.status == ([(50 * STEP_MS, head_step * STEP_MS)], [])
    known = rig.windows.status()["q@hot"]
    assert (known.settle_ms, known.settle_why) == (STEP_MS, "so")


def test_a_source_without_a_settled_sample_is_not_planned(rig: Rig) -> None:
    rig.source.lowest = 200 * STEP_MS

    planner(rig).plan()

    assert rig.windows.status() == {}


def test_the_last_to_start_owns_the_feed(rig: Rig) -> None:
    old = planner(rig)
    old.plan()
    changed = Plan(
        Feed("q", "hot", "expr", "f2"), rig.plan.query, STEP_MS, 0, 50_000, 1_000_000, 240_000
    )
    planner(rig, changed).plan()

    rig.source.now += 10 * STEP_MS
    old.plan()

    status = rig.windows.status()["q@hot"]
    assert (status.fingerprint, status.head_ms) == ("f2", 100 * STEP_MS)
    assert rig.windows.lease(rig.plan.feed, "live", 10**9, 10**9) is None


def test_a_feed_that_redis_did_not_let_be_taken_over_is_taken_at_the_next_turn(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = planner(rig)
    old.plan()
    changed = replace(rig.plan, feed=replace(rig.plan.feed, fingerprint="f2"))
    new = planner(rig, changed)
    with monkeypatch.context() as patched:
        refused = Mock(side_effect=OutOfMemoryError("used memory > maxmemory"))
        patched.setattr(rig.windows, "plan", refused)
        with pytest.raises(OutOfMemoryError):
            new.plan()
    rig.source.now += STEP_MS
    old.plan()

    new.plan()

    assert rig.windows.status()["q@hot"].fingerprint == "f2"


def test_who_takes_a_feed_over_notes_what_is_in_force(rig: Rig) -> None:
    first, second = (replace(rig.plan, configuration=text) for text in ("first", "second"))
    old, new = planner(rig, first), planner(rig, second)
    for planning in (old, old, new, old, new):
        planning.plan()
    noted = changes_of(rig.windows.redis, rig.windows.keys, "q@hot")
    assert [change.configuration for change in noted] == ["first", "second"]


def test_a_redis_that_was_rolled_back_over_a_change_is_taken_over_again(rig: Rig) -> None:
    """What it knows then is the configuration before; no process has that any more."""
    planner(rig).plan()
    before = rig.redis.dump(rig.windows.keys.feed("q@hot"))
    assert before is not None
    changed = Plan(
        Feed("q", "hot", "expr", "f2"), rig.plan.query, STEP_MS, 0, 50_000, 1_000_000, 240_000
    )
    planning = planner(rig, changed)
    planning.plan()
    rig.redis.restore(rig.windows.keys.feed("q@hot"), 0, before, replace=True)

    rig.source.now += 10 * STEP_MS
    planning.plan()
    assert rig.windows.status()["q@hot"].fingerprint == "f"
    planning.plan()

    status = rig.windows.status()["q@hot"]
    assert (status.fingerprint, status.head_ms) == ("f2", 110 * STEP_MS)
    window = rig.windows.lease(changed.feed, "live", 10**9, 10**9)
    assert window is not None
    assert (window.start_ms, window.end_ms) == (50 * STEP_MS, 110 * STEP_MS)


def test_a_removed_query_is_closed_and_its_backlog_is_declared_a_gap(rig: Rig) -> None:
    planner(rig).plan()
    other = Plan(
        Feed("other", "hot", "expr", "f"), rig.plan.query, STEP_MS, 0, 50_000, 1_000_000, 240_000
    )

    planner(rig, other).plan()

    assert list(rig.windows.status()) == ["other@hot"]
    (gap,) = rig.windows.gaps("q@hot")
    assert (gap.start_ms, gap.end_ms, gap.reason) == (
        50 * STEP_MS,
        100 * STEP_MS,
        "query removed",
    )
    assert rig.value("etl_queries_closed_total", query="q", tier="hot") == 1


def test_the_feeds_of_another_source_are_left_to_it(rig: Rig) -> None:
    planner(rig).plan()
    other = Plan(
        Feed("q@b", "hot", "expr", "f"), rig.plan.query, STEP_MS, 0, 50_000, 1_000_000, 240_000
    )
    names = frozenset({rig.plan.feed.name, other.feed.name})

    planner(rig, other, configured=names).plan()

    assert set(rig.windows.status()) == names


def test_a_turn_reads_the_feeds_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    planning = planner(rig)
    planning.plan()
    rig.windows.set_sink_watermark("q@hot", None)
    planning.plan()
    reads = 0

    def status() -> dict[str, FeedStatus]:
        nonlocal reads
        reads += 1
        return WindowSet.status(rig.windows)

    monkeypatch.setattr(rig.windows, "status", status)
    monkeypatch.setattr(rig.windows, "sink_watermarks", lambda: pytest.fail("nothing to reconcile"))
    rig.source.now += 2 * rig.plan.live_ms

    due = planning.plan()

    assert reads == 1
    assert (due.live, due.catchup) == (1, 1), "what this turn has just planned is due"
    assert planning.origin_ms(rig.plan.feed.name) == 50 * STEP_MS
    assert reads == 1


def test_the_lowest_timestamp_is_read_anew_while_something_is_to_begin(rig: Rig) -> None:
    run = ServerRun("started", "configured", "15d")
    rig.source.lowest = 0
    source, lowest = Mock(wraps=rig.source), Mock(return_value=0)
    source.run, source.lowest_timestamp_ms = Mock(return_value=run), lowest
    rig.history.source = source
    planning = planner(rig)
    for _ in range(3):
        planning.plan()
    assert lowest.call_count == 3, "no loader has said yet what the sink holds"
    rig.windows.set_sink_watermark("q@hot", None)
    for _ in range(3):
        planning.plan()
    assert lowest.call_count == 4
