"""The stream and the audit on real Redis: no memory left, and what somebody did by hand."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from common.state.connection.redis_client import connect
from common.state.keys import GROUP, RAW
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import Settle
from devtools.servers.redis_server import RedisServer
from devtools.servers.waiting import wait_until
from tests.integration.state.worlds import FEED, STEP_MS, RedisWorld, extract


def test_at_maxmemory_what_a_dead_worker_held_is_taken_over_and_settled(
    redis_world: RedisWorld,
) -> None:
    world, redis = redis_world, redis_world.redis
    extract(world, [(b"a", 1)])
    dead, heir = world.stream("dead"), world.stream("heir")
    dead.read(1, 0.01)
    world.expire_leases()
    redis.config_set("maxmemory", 1)
    try:
        (entry,) = heir.claim(10).entries
        assert heir.settle(entry, Settle(loaded=1), "loader") is SettleResult.OK
    finally:
        redis.config_set("maxmemory", 0)

    assert entry.crashes == 1
    assert world.audit().accounts["q@hot"].loaded == 1


def test_at_maxmemory_an_entry_without_payload_has_its_window_extracted_again(
    redis_world: RedisWorld,
) -> None:
    world, redis = redis_world, redis_world.redis
    extract(world, [(b"a", 1)])
    stream = world.stream("one")
    (entry,) = stream.read(1, 0.01)
    world.delete_payload(entry.payload_key)
    redis.config_set("maxmemory", 1)
    try:
        lost = Settle(drops={"payload_lost": 1}, again=True)
        assert stream.settle(entry, lost, "transformer") is SettleResult.OK
    finally:
        redis.config_set("maxmemory", 0)

    assert world.windows().status()[FEED.name].backlog == [(0, STEP_MS)]
    assert world.audit().imbalance_samples == 0


def test_a_window_is_compared_again_without_being_extracted_again(redis_world: RedisWorld) -> None:
    world = redis_world
    extract(world, [(b"a", 1)])
    stream = world.stream("one")
    (entry,) = stream.read(1, 0.01)

    stream.compare_again(entry, Settle(loaded=1))

    status = world.windows().status()[FEED.name]
    assert (json.loads(status.reopened), status.backlog) == ([[0, STEP_MS]], [])
    world.windows().close(FEED.name, 0, "removed")
    stream.compare_again(entry, Settle(loaded=1))
    assert world.redis.exists(world.keys.feed(FEED.name)) == 0


@pytest.mark.parametrize("samples", ["nan", "inf", "1e999", "-5", "0x10", "9" * 400, ""])
def test_a_foreign_entry_does_not_blind_the_audit(redis_world: RedisWorld, samples: str) -> None:
    world, redis = redis_world, redis_world.redis
    extract(world, [(b"a", 5)])
    redis.xadd(world.keys.stream(RAW), {"samples": samples})

    audit = world.audit()

    assert (audit.imbalance_samples, audit.total.in_flight) == (0, 5)
    assert (audit.streams[RAW].unaccounted_entries, audit.streams[RAW].unaccounted_samples) == (
        1,
        0,
    )


def test_an_entry_copied_by_hand_leaves_the_other_its_payload(redis_world: RedisWorld) -> None:
    world, redis = redis_world, redis_world.redis
    extract(world, [(b"a", 5)])
    stream = world.stream("one")
    (entry,) = stream.read(1, 0.01)
    redis.xadd(world.keys.stream(RAW), dict(entry.fields.items()))
    (copied,) = stream.read(1, 0.01)

    assert stream.settle(copied, Settle(drops={"nan": 5}), "loader") is SettleResult.OK

    audit = world.audit()
    assert (audit.lost_samples, audit.imbalance_samples) == (0, 5), "five came from nowhere"
    assert stream.settle(entry, Settle(loaded=5), "loader") is SettleResult.OK
    assert redis.keys(world.keys.payload("*")) == []


def test_a_group_that_was_moved_on_by_hand_shows_as_loss(redis_world: RedisWorld) -> None:
    world, redis = redis_world, redis_world.redis
    extract(world, [(b"a", 1)] * 600)
    stream = world.stream("one")
    held = stream.read(550, 0.01)
    redis.xgroup_setid(world.keys.stream(RAW), GROUP, "$")

    audit = world.audit()

    assert audit.streams[RAW].lost_samples == {"q@hot": 50}
    assert audit.total.in_flight == len(held)


@pytest.mark.parametrize("damaged", ["abc", "", "1.5", "9" * 5000])
def test_a_damaged_field_of_the_ledger_shows_as_imbalance(
    redis_world: RedisWorld, damaged: str
) -> None:
    world, redis = redis_world, redis_world.redis
    extract(world, [(b"a", 5)])
    redis.hset(world.keys.ledger, mapping={"q@hot|extracted": damaged, "foreign": damaged})

    assert world.audit().imbalance_samples == 5


@pytest.mark.parametrize(
    "record", ["5", "5 x", "abc", "", f"{'9' * 20} 1 q@hot w1 k", "5 1 q@hot w1"]
)
def test_an_entry_whose_record_is_damaged_can_still_be_settled(
    redis_world: RedisWorld, record: str
) -> None:
    world, redis = redis_world, redis_world.redis
    extract(world, [(b"a", 5)])
    stream = world.stream("one")
    (found,) = redis.hkeys(world.keys.in_flight(RAW))
    redis.hset(world.keys.in_flight(RAW), found, record)
    assert world.audit().total.in_flight == 0
    (entry,) = stream.read(1, 0.01)

    assert stream.settle(entry, Settle(loaded=entry.samples), "loader") is SettleResult.OK

    assert redis.keys(world.keys.payload("*")) == []


def test_a_read_that_waits_ends_when_the_process_stops(
    redis_world: RedisWorld, redis_server: RedisServer
) -> None:
    world = redis_world
    extract(world, [(b"a", 1)])
    world.stream("other").read(1, 0.01)
    with connect(redis_server.plain_url) as client:
        stream = RedisStream(client, world.keys, RAW, "one")
        found: list[object] = []
        reading = threading.Thread(target=lambda: found.append(stream.read(1, 4.0)), daemon=True)
        reading.start()
        wait_until(
            lambda: any(one["cmd"] == "xreadgroup" for one in world.redis.client_list()),
            deadline_seconds=10,
            what="it waits",
        )
        stream.wake()
        reading.join(3)
        assert found == [[]]
        assert stream.read(1, 4.0) == []


def test_what_a_read_was_given_as_it_was_ended_is_released_without_a_crash(
    redis_world: RedisWorld, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = redis_world
    extract(world, [(b"a", 1)])
    with connect(redis_server.plain_url) as client:
        stream = RedisStream(client, world.keys, RAW, "one", now_ms=world.clock)
        stream.ensure()

        def given_and_cut_off(*args: Any, **options: Any) -> None:
            assert Redis.xreadgroup(client, *args, **options)
            raise RedisConnectionError("closed")

        monkeypatch.setattr(client, "xreadgroup", given_and_cut_off)
        with pytest.raises(RedisConnectionError):
            stream.read(1, 0.01)
        extract(world, [(b"b", 2)])
        # What waits is not waited for any more; this one does not wait.
        monkeypatch.setattr(client, "is_awake", True)
        monkeypatch.setattr(client, "_begin_to_wait", lambda _: None)
        assert stream.read(1, 0.01) == []
    (first, second) = world.stream("heir").claim(10).entries
    assert [(first.crashes, first.samples), (second.crashes, second.samples)] == [(0, 1), (0, 2)]


def test_a_claim_says_whether_anything_may_be_left_behind_soon(redis_world: RedisWorld) -> None:
    world = redis_world
    one = world.stream("one")
    assert one.claim(10).alone
    extract(world, [(b"a", 1)])
    (entry,) = one.read(1, 0.01)
    assert not one.claim(10).alone, "it holds one itself"
    one.release([entry.id], 60.0)
    assert not one.claim(10).alone, "one waits"
    world.clock.advance(61)
    (entry,) = one.claim(10).entries
    one.settle(entry, Settle(loaded=1), "loader")
    assert one.claim(10).alone, "who holds what was released is no worker"
    other = world.stream("other")
    extract(world, [(b"b", 1)])
    (entry,) = other.read(1, 0.01)
    other.settle(entry, Settle(loaded=1), "loader")
    assert not one.claim(10).alone, "another works here, too"
    other.forget_consumers(0, only_self=True)
    assert one.claim(10).alone
