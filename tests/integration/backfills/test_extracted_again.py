"""What a backfill has loaded is extracted again by another one, on real Redis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from common.state import backfills
from common.state.backfills import Backfills
from common.state.dead_letters.counted import counted, extract_again
from common.state.keys import RAW
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import DeadLetter, Settle
from tests.integration.backfills.rig import ALL, HEAD_MS, ORIGIN_MS, Rig
from tests.integration.state.worlds import FEED, STEP_MS, commit, live, must


@pytest.fixture
def rig(redis_client: Redis) -> Rig:
    return Rig(redis_client)


def test_a_payload_that_redis_lost_is_extracted_again_by_another(rig: Rig) -> None:
    id_ = rig.begin()
    rig.extract(id_, 100, samples=5)
    (entry,) = rig.stream.read(1, 0.0)
    rig.world.delete_payload(entry.payload_key)
    assert rig.stream.knows_window(entry)

    lost = Settle(drops={"payload_lost": 5}, again=True)
    assert rig.stream.settle(entry, lost, "transformer") is SettleResult.OK

    assert rig.join() is None, "it is not loaded"
    (again,) = (part for part in rig.backfills.parts() if part.backfill != id_)
    assert again.coming == [ALL]
    assert rig.extract(again.backfill, 100, samples=5) == ALL
    rig.settle()
    assert rig.join() == 0
    account = rig.world.audit().accounts[FEED.name]
    assert (account.extracted, account.loaded, account.imbalance_samples) == (10, 5, 0)


def test_a_feed_is_not_joined_over_what_is_extracted_again_since_its_parts_were_read(
    rig: Rig,
) -> None:
    id_ = rig.begin()
    rig.extract(id_, 100, samples=5)
    (entry,) = rig.stream.read(1, 0.0)
    rig.world.delete_payload(entry.payload_key)
    before = rig.backfills.parts()
    lost = Settle(drops={"payload_lost": 5}, again=True)
    assert rig.stream.settle(entry, lost, "transformer") is SettleResult.OK

    assert rig.backfills.join(FEED.name, before, []) is None
    assert rig.feed.origin_ms == ORIGIN_MS
    assert rig.join() is None
    (again,) = (part for part in rig.backfills.parts() if part.backfill != id_)
    assert again.coming == [ALL]


def test_dead_letters_that_were_only_counted_are_extracted_again_by_another(rig: Rig) -> None:
    id_ = rig.begin()
    rig.extract(id_, samples=5)
    rig.extract(id_, 90, samples=5)
    assert commit(rig.windows, must(live(rig.windows)), 5) == "committed"
    stream = RedisStream(rig.redis, rig.keys, RAW, "w", dead_letters_sample=1, now_ms=rig.clock)
    refused = Settle(dead=[DeadLetter("rejected", "why", b"m v=1", 5, "m")])
    for entry in stream.read(3, 0.01):  # the first is kept
        assert stream.settle(entry, refused, "loader") is SettleResult.OK
    (letters,) = counted(rig.redis, rig.keys)

    assert extract_again(rig.redis, rig.keys, letters)

    (again,) = (part for part in rig.backfills.parts() if part.backfill != id_)
    assert again.coming == [(0, 90 * STEP_MS)]
    assert rig.feed.backlog == [(ORIGIN_MS, HEAD_MS)]
    account = rig.world.audit().accounts[FEED.name]
    assert (account.dead_lettered, account.dropped) == (5, {"extracted_again": 10})
    assert not extract_again(rig.redis, rig.keys, letters), "they were taken out of the count"


def test_what_joins_its_feed_meanwhile_is_extracted_again_all_the_same(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = rig.begin()
    rig.extract(id_, 50)
    rig.settle()
    wanted = (40 * STEP_MS, ORIGIN_MS)
    create = Backfills.create

    def after_joining(self: Backfills, *args: Any, **options: Any) -> tuple[str, dict[str, int]]:
        assert rig.join() == 50 * STEP_MS
        return create(self, *args, **options)

    monkeypatch.setattr(Backfills, "create", after_joining)

    added_ms = backfills.extract_again(rig.windows, FEED, [wanted])

    assert added_ms == 50 * STEP_MS
    assert rig.feed.backlog == [(50 * STEP_MS, HEAD_MS)]


def test_one_that_is_cancelled_while_it_is_begun_gets_no_more_parts(rig: Rig) -> None:
    other = replace(FEED, query="other")
    rig.windows.plan(other, ORIGIN_MS, HEAD_MS)
    rig.windows.set_reconciled(other)
    begun = Backfills(rig.redis, rig.keys, now_ms=rig.clock, new_id=lambda: "same")
    begun.create({FEED: [ALL]}, *ALL)
    assert begun.change("same", "cancelled")

    _, taken = begun.create({other: [ALL]}, *ALL)

    assert taken == {}
    assert begun.parts() == []


def test_nothing_is_by_one_whose_lease_is_anothers_by_now(rig: Rig) -> None:
    assert commit(rig.windows, must(live(rig.windows))) == "committed"
    rig.redis.set("lease", "another's")

    for range_ in (ALL, (ORIGIN_MS, HEAD_MS)):
        assert backfills.extract_again(rig.windows, FEED, [range_], ("lease", "mine")) is None
    assert (rig.backfills.parts(), rig.feed.backlog) == ([], [])

    rig.redis.set("lease", "mine")
    assert backfills.extract_again(rig.windows, FEED, [ALL], ("lease", "mine")) == ORIGIN_MS
