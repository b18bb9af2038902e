"""Backfills on real Redis: time before a feed's origin, which never holds the feed itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

import common.state.backfills
from common.state.backfills import history
from common.state.history import changes_of
from common.state.scripts import Scripts
from tests.integration.backfills.rig import ALL, HEAD_MS, ORIGIN_MS, Rig
from tests.integration.state.worlds import FEED, STEP_MS, bounds, commit, live, must


@pytest.fixture
def rig(redis_client: Redis) -> Rig:
    return Rig(redis_client)


def test_the_newest_is_extracted_first_and_the_feed_does_not_wait(rig: Rig) -> None:
    id_ = rig.begin()
    watermark_ms = rig.feed.watermark_ms

    assert rig.extract(id_) == (90 * STEP_MS, ORIGIN_MS)
    assert rig.extract(id_) == (80 * STEP_MS, 90 * STEP_MS)

    assert rig.feed.watermark_ms == rig.feed.loaded_watermark_ms == watermark_ms == ORIGIN_MS
    assert rig.feed.unsettled == []
    assert len(rig.feed.below) == 2
    assert rig.part(id_).coming == [(0, 80 * STEP_MS)]
    assert rig.one(id_).samples == 2
    assert rig.one(id_).extracted_ms == 20 * STEP_MS
    assert rig.world.audit().imbalance_samples == 0


def test_or_the_oldest(rig: Rig) -> None:
    id_ = rig.begin(order="oldest")
    assert [rig.extract(id_, 30) for _ in range(4)] == [
        (0, 30 * STEP_MS),
        (30 * STEP_MS, 60 * STEP_MS),
        (60 * STEP_MS, 90 * STEP_MS),
        (90 * STEP_MS, ORIGIN_MS),
    ]
    assert rig.lease(id_) is None


def test_what_is_loaded_before_the_origin_is_joined(rig: Rig) -> None:
    id_ = rig.begin()
    rig.extract(id_)
    assert rig.join() is None, "it is not settled"
    rig.settle()

    assert rig.join() == 90 * STEP_MS
    assert rig.join() is None

    assert rig.feed.origin_ms == 90 * STEP_MS
    assert rig.feed.loaded_watermark_ms == ORIGIN_MS, "what is live is still to come"
    for _ in range(9):
        rig.extract(id_)
    rig.settle()
    assert rig.join() == 0
    assert rig.backfills.parts() == []
    assert rig.one(id_).state == "done"
    assert rig.one(id_).extracted_ms == ORIGIN_MS


def test_of_very_many_unsettled_windows_those_of_the_feed_are_taken_from_what_was_read(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common.state.backfills, "MOST_WINDOWS", 0)
    id_ = rig.begin()
    rig.extract(id_)
    before = rig.feed.below
    assert rig.join() is None, "it is not settled"
    rig.settle()
    rig.extract(id_)

    parts = rig.backfills.parts()
    assert rig.backfills.join(FEED.name, parts, before) is None, "it had not settled then"
    assert rig.join() == 90 * STEP_MS
    rig.settle()
    assert rig.join() == 80 * STEP_MS


def test_what_is_apart_from_the_feed_is_history_until_the_rest_is_there(rig: Rig) -> None:
    old = rig.begin((0, 40 * STEP_MS))
    rig.extract(old, 40)
    rig.settle()
    assert rig.join() is None
    assert history(rig.feed, rig.backfills.parts()) == [(0, 40 * STEP_MS)]

    rest = rig.begin((30 * STEP_MS, ORIGIN_MS))
    rig.extract(rest, 100)
    rig.settle()

    assert rig.join() == 0
    assert rig.backfills.parts() == []


def test_what_another_backfill_extracts_again_is_not_joined_meanwhile(rig: Rig) -> None:
    first = rig.begin()
    rig.extract(first, 100)
    rig.settle()
    again = rig.begin((50 * STEP_MS, 60 * STEP_MS))

    assert rig.join() == 60 * STEP_MS
    assert history(rig.feed, rig.backfills.parts()) == [(0, 50 * STEP_MS)]

    rig.extract(again)
    rig.settle()
    assert rig.join() == 0


def test_what_fails_is_extracted_later_and_holds_only_its_part(rig: Rig) -> None:
    id_ = rig.begin()
    part = replace(FEED, backfill=id_)
    window = must(rig.lease(id_))
    assert rig.windows.fail(part, window, 10, 60)

    assert rig.lease(id_) is None
    assert live(rig.windows) is not None

    rig.clock.advance(11)
    assert bounds(must(rig.lease(id_))) == bounds(window)


def test_what_is_too_large_is_split_and_what_cannot_be_read_deferred(rig: Rig) -> None:
    id_ = rig.begin()
    part = replace(FEED, backfill=id_)
    window = must(rig.lease(id_, 2))
    assert rig.windows.split(part, window, 99 * STEP_MS)
    assert rig.windows.defer(part, must(rig.lease(id_)), 10, 60)
    assert rig.extract(id_) == (98 * STEP_MS, 99 * STEP_MS)

    assert rig.part(id_).coming == [(0, 98 * STEP_MS), (99 * STEP_MS, ORIGIN_MS)]
    rig.clock.advance(11)
    assert rig.extract(id_) == (99 * STEP_MS, ORIGIN_MS)


def test_what_the_source_has_deleted_is_left_out_and_no_gap(rig: Rig) -> None:
    id_ = rig.begin(order="oldest")
    part = replace(FEED, backfill=id_)
    window = must(rig.lease(id_))
    assert rig.windows.declare_gap(part, window, 5 * STEP_MS, "deleted")
    assert rig.windows.retry(part, replace(window, start_ms=5 * STEP_MS), 0)
    assert rig.extract(id_) == (5 * STEP_MS, 10 * STEP_MS)

    assert rig.windows.gaps(FEED.name) == []
    assert rig.one(id_).gap_ms == 5 * STEP_MS
    rig.extract(id_, 100)
    rig.settle()
    assert rig.join() == 5 * STEP_MS
    assert rig.one(id_).state == "done"
    assert rig.one(id_).extracted_ms == 95 * STEP_MS


def test_nothing_is_leased_while_it_is_paused(rig: Rig) -> None:
    id_ = rig.begin()
    assert rig.backfills.change(id_, "paused")
    assert rig.lease(id_) is None
    assert rig.one(id_).state == "paused"
    assert rig.backfills.change(id_, "running")
    assert rig.lease(id_) is not None


def test_a_window_in_hand_is_committed_while_it_is_paused(rig: Rig) -> None:
    id_ = rig.begin()
    window = must(rig.lease(id_))
    rig.backfills.change(id_, "paused")
    assert commit(rig.windows, window, 1, replace(FEED, backfill=id_)) == "committed"


def test_what_is_cancelled_keeps_what_was_loaded(rig: Rig) -> None:
    id_ = rig.begin()
    rig.extract(id_)
    window = must(rig.lease(id_))
    assert rig.backfills.change(id_, "cancelled")

    assert commit(rig.windows, window, 1, replace(FEED, backfill=id_)) == "refused"
    assert rig.lease(id_) is None
    assert not rig.backfills.change(id_, "running")
    found = rig.one(id_)
    assert (found.state, found.extracted_ms, found.cancelled_ms) == (
        "cancelled",
        10 * STEP_MS,
        90 * STEP_MS,
    )
    rig.settle()
    assert rig.join() == 90 * STEP_MS
    again = rig.begin()
    assert rig.extract(again) == (80 * STEP_MS, 90 * STEP_MS)


def test_one_that_is_cancelled_at_once_leaves_nothing(rig: Rig) -> None:
    id_ = rig.begin()
    rig.backfills.change(id_, "cancelled")
    assert rig.backfills.parts() == []


def test_there_is_none_of_that_name(rig: Rig) -> None:
    assert not rig.backfills.change("nothing", "paused")
    assert rig.backfills.all() == []


def test_its_rate_is_kept(rig: Rig) -> None:
    id_ = rig.begin(rate=10.0)
    rig.extract(id_, samples=1000)
    rig.clock.advance(99)
    assert rig.lease(id_) is None
    rig.clock.advance(6)
    rig.extract(id_, samples=1000)
    rig.clock.advance(94)
    assert rig.lease(id_) is None
    rig.clock.advance(1)
    assert rig.lease(id_) is not None, "the seconds that were not used count"


def test_no_more_than_some_of_the_time_that_was_not_used_counts(rig: Rig) -> None:
    id_ = rig.begin(rate=10.0)
    rig.extract(id_, samples=1)
    rig.clock.advance(1000)
    rig.extract(id_, samples=1000)
    rig.clock.advance(89)
    assert rig.lease(id_) is None
    rig.clock.advance(1)
    assert rig.lease(id_) is not None


def test_the_clock_of_redis_may_go_back(rig: Rig) -> None:
    id_ = rig.begin(rate=10.0)
    rig.extract(id_, samples=1000)
    rig.clock.advance(-3600)
    assert rig.lease(id_) is None
    rig.clock.advance(101)
    rig.clock.advance(3600)
    assert rig.lease(id_) is not None


def test_another_configuration_takes_it_over(rig: Rig) -> None:
    id_ = rig.begin()
    rig.extract(id_)
    window = must(rig.lease(id_))
    changed = replace(FEED, fingerprint="f2")
    rig.windows.plan(changed, 0, HEAD_MS, adopt=True, backfills=[id_])

    old = replace(FEED, backfill=id_)
    assert commit(rig.windows, window, 1, old) == "refused"
    assert rig.lease(id_) is None
    assert rig.part(id_).coming == [(0, 90 * STEP_MS)]
    taken = must(rig.lease(id_, feed=changed))
    assert bounds(taken) == (80 * STEP_MS, 90 * STEP_MS)


def test_it_is_known_under_which_configuration_it_is_extracted(rig: Rig) -> None:
    def noted() -> list[Any]:
        return [list(one.to_do) for one in changes_of(rig.redis, rig.keys, FEED.name)]

    rig.windows.plan(FEED, 0, HEAD_MS, adopt=True, configuration="first")
    live_ms = (ORIGIN_MS, HEAD_MS)
    first = rig.begin((50 * STEP_MS, ORIGIN_MS))
    rig.extract(first)
    assert noted() == [[live_ms]], "all is of the only one that there is"

    changed = replace(FEED, fingerprint="f2")
    rig.windows.plan(changed, 0, HEAD_MS, adopt=True, configuration="second", backfills=[first])
    assert noted()[1] == [(50 * STEP_MS, 90 * STEP_MS), live_ms]

    rig.begin((0, 20 * STEP_MS), feed=changed)
    assert noted()[1] == [(0, 20 * STEP_MS), (50 * STEP_MS, 90 * STEP_MS), live_ms]


def test_what_is_opened_again_is_of_the_configuration_in_force(rig: Rig) -> None:
    rig.windows.plan(FEED, 0, HEAD_MS, adopt=True, configuration="first")
    while (window := live(rig.windows)) is not None:
        commit(rig.windows, window)
    rig.windows.plan(FEED, 0, HEAD_MS, adopt=True, configuration="second")
    rig.windows.reopen(FEED, ORIGIN_MS, ORIGIN_MS + STEP_MS)
    changes = changes_of(rig.redis, rig.keys, FEED.name)
    assert changes[-1].to_do == [(ORIGIN_MS, ORIGIN_MS + STEP_MS)]


@pytest.mark.parametrize("case", ["foreign", "not reconciled", "unknown"])
def test_a_feed_that_is_not_ours_has_no_backfill(rig: Rig, case: str) -> None:
    feed = FEED
    if case == "foreign":
        feed = replace(FEED, fingerprint="f2")
    elif case == "unknown":
        feed = replace(FEED, query="other")
    else:
        rig.redis.hdel(rig.keys.feed(FEED.name), "reconciled")
    _, taken = rig.backfills.create({feed: [ALL]}, *ALL)
    assert taken == {}
    assert rig.backfills.parts() == []
    assert rig.backfills.all() == []


def test_only_time_before_the_origin_is_taken(rig: Rig) -> None:
    id_, taken = rig.backfills.create({FEED: [(90 * STEP_MS, HEAD_MS)]}, 0, HEAD_MS)
    assert taken == {FEED.name: 10 * STEP_MS}
    assert rig.part(id_).coming == [(90 * STEP_MS, ORIGIN_MS)]
    _, taken = rig.backfills.create({FEED: [(ORIGIN_MS, HEAD_MS)]}, 0, HEAD_MS)
    assert taken == {FEED.name: 0}


def test_a_configured_one_is_begun_once(rig: Rig) -> None:
    before = rig.feed
    id_ = rig.begin(configured=True)
    assert id_.startswith("auto-")
    assert (before.backfilled, rig.feed.backfilled) == (False, True)
    _, taken = rig.backfills.create({FEED: [ALL]}, *ALL, configured=True)
    assert taken == {FEED.name: 0}
    assert len(rig.backfills.all()) == 1


def test_a_part_of_a_feed_that_nobody_plans_is_forgotten(rig: Rig) -> None:
    id_ = rig.begin()
    rig.extract(id_)
    assert not rig.backfills.close(rig.part(id_), 60)
    rig.clock.advance(61)
    rig.windows.plan(FEED, 0, HEAD_MS, backfills=[id_])
    assert not rig.backfills.close(rig.part(id_), 60)
    rig.clock.advance(61)
    assert rig.backfills.close(rig.part(id_), 60)
    assert rig.backfills.parts() == []
    assert [key for key in rig.redis.scan_iter() if b"+" in key] == []
    assert rig.one(id_).state == "done"
    assert (rig.one(id_).extracted_ms, rig.one(id_).cancelled_ms) == (10 * STEP_MS, 90 * STEP_MS)


def test_what_is_left_of_a_part_is_cancelled_in_the_step_that_forgets_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of the process then: nobody would find out later."""
    id_ = rig.begin()
    rig.extract(id_)
    rig.lease(id_)
    part = rig.part(id_)
    rig.clock.advance(61)
    call = Scripts.call

    def dies(*args: Any, **named: Any) -> None:
        call(*args, **named)
        raise RedisConnectionError("killed")

    monkeypatch.setattr(Scripts, "call", dies)
    with pytest.raises(RedisConnectionError):
        rig.backfills.close(part, 60)
    monkeypatch.undo()

    assert rig.backfills.parts() == []
    assert [key for key in rig.redis.scan_iter() if b"+" in key] == []
    assert (rig.one(id_).extracted_ms, rig.one(id_).cancelled_ms) == (10 * STEP_MS, 90 * STEP_MS)


def test_old_ones_are_forgotten(rig: Rig) -> None:
    for _ in range(60):
        rig.backfills.change(rig.begin(), "cancelled")
        rig.clock.advance(1)
    running = rig.begin()
    found = [one.id for one in rig.backfills.all()]
    assert len(found) == 51
    assert running in found
    assert "b0" not in found


def test_it_gives_way_to_what_is_in_flight(rig: Rig) -> None:
    id_ = rig.begin()
    assert not rig.backfills.gives_way()
    for _ in range(16):
        rig.extract(id_, 1)
    assert rig.backfills.gives_way()
    rig.settle()
    assert not rig.backfills.gives_way()


def test_what_somebody_else_wrote_is_left_alone(rig: Rig) -> None:
    rig.redis.sadd(rig.keys.backfill_parts, "nothing", "q@hot+gone", b"\xff")
    rig.redis.sadd(rig.keys.backfill_ids, "gone", b"\xff", "x" * 100)
    assert rig.backfills.parts() == []
    assert rig.backfills.all() == []
    id_ = rig.begin()
    assert [one.id for one in rig.backfills.all()] == [id_]
