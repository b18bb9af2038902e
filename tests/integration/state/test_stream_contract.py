"""One contract for the stream, held to by real Redis and by the one in memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
from redis import Redis

from common.state.keys import GROUP, POINTS, RAW, Keys
from common.state.ledger import Audit, Ledger
from common.state.stream import RELEASED, RedisStream, SettleResult, Stream
from common.state.verdict import DeadLetter, Output, Settle
from common.state.windows import Feed, WindowSet
from tests.doubles.memory_stream import MemoryBroker, MemoryStream

FEED = Feed("q", "hot", "expr", "f1")
LEASE_SECONDS = 10.0


@dataclass
class FakeClock:
    ms: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms

    def advance(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


class World(Protocol):
    clock: FakeClock

    def stream(self, consumer: str, inbound: str = RAW, dead_max: int = 100) -> Stream: ...
    def commit(self, payloads: Sequence[tuple[bytes, int]]) -> None: ...
    def delete_entry(self, id_: str) -> None: ...
    def delete_payload(self, id_: str) -> None: ...
    def forget_booking(self, id_: str) -> None: ...
    def acknowledge(self, id_: str) -> None: ...
    def expire_leases(self) -> None: ...
    def audit(self) -> Audit: ...
    def unsettled(self) -> int: ...


@dataclass
class MemoryWorld:
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.broker = MemoryBroker(self.clock)
        self.broker.state(RAW)
        self.broker.state(POINTS)
        self._windows = itertools.count()

    def stream(self, consumer: str, inbound: str = RAW, dead_max: int = 100) -> Stream:
        return MemoryStream(
            self.broker,
            inbound,
            consumer,
            outbound=POINTS if inbound == RAW else None,
            lease_seconds=LEASE_SECONDS,
            dead_letters_max_entries=dead_max,
        )

    def commit(self, payloads: Sequence[tuple[bytes, int]]) -> None:
        self.broker.commit(RAW, "q", "hot", "expr", f"w{next(self._windows)}", payloads)

    def delete_entry(self, id_: str) -> None:
        del self.broker.state(RAW).entries[id_]

    def delete_payload(self, id_: str) -> None:
        del self.broker.payloads[self.broker.state(RAW).entries[id_].payload_key]

    def forget_booking(self, id_: str) -> None:
        del self.broker.state(RAW).in_flight[id_]

    def acknowledge(self, id_: str) -> None:
        del self.broker.state(RAW).pending[id_]

    def expire_leases(self) -> None:
        self.clock.advance(LEASE_SECONDS + 1)

    def audit(self) -> Audit:
        return self.broker.audit()

    def unsettled(self) -> int:
        return len(self.broker.unsettled)


@dataclass
class RedisWorld:
    redis: Redis
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.keys = Keys("contract")
        self.windows = WindowSet(self.redis, self.keys, now_ms=self.clock)
        self._head_ms = 0

    def stream(self, consumer: str, inbound: str = RAW, dead_max: int = 100) -> Stream:
        stream = RedisStream(
            self.redis,
            self.keys,
            inbound,
            consumer,
            outbound=POINTS if inbound == RAW else None,
            lease_seconds=LEASE_SECONDS,
            dead_letters_max_entries=dead_max,
            now_ms=self.clock,
        )
        stream.ensure()
        return stream

    def commit(self, payloads: Sequence[tuple[bytes, int]]) -> None:
        self._head_ms += 1000
        self.windows.plan(FEED, 0, self._head_ms)
        window = self.windows.lease(FEED, "live", 10**9, 10**9)
        assert window is not None
        staged = [self.windows.stage(payload, samples, 3600) for payload, samples in payloads]
        assert self.windows.commit(FEED, window, staged) == "committed"

    def delete_entry(self, id_: str) -> None:
        assert self.redis.xdel(self.keys.stream(RAW), id_) == 1

    def delete_payload(self, id_: str) -> None:
        booked = self.redis.hget(self.keys.in_flight(RAW), id_)
        assert isinstance(booked, bytes)
        assert self.redis.delete(booked.rsplit(b" ", 1)[1]) == 1

    def forget_booking(self, id_: str) -> None:
        assert self.redis.hdel(self.keys.in_flight(RAW), id_) == 1

    def acknowledge(self, id_: str) -> None:
        assert self.redis.xack(self.keys.stream(RAW), GROUP, id_) == 1

    def expire_leases(self) -> None:
        """Leases run by the server's clock: make every pending entry look idle for long."""
        self.clock.advance(LEASE_SECONDS + 1)
        name = self.keys.stream(RAW)
        found: Any = self.redis.xpending_range(name, GROUP, "-", "+", 1000)
        for pending in found:
            if pending["consumer"] != RELEASED.encode():
                self.redis.xclaim(
                    name,
                    GROUP,
                    pending["consumer"],
                    0,
                    [pending["message_id"]],
                    idle=int(LEASE_SECONDS * 1000) + 1,
                    justid=True,
                )

    def audit(self) -> Audit:
        return Ledger(self.redis, self.keys, now_ms=self.clock).audit()

    def unsettled(self) -> int:
        return int(self.redis.hlen(self.keys.unsettled))


@pytest.fixture(params=["memory", "redis"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        return MemoryWorld()
    return RedisWorld(request.getfixturevalue("redis_client"))


def in_flight(audit: Audit) -> int:
    return audit.total.in_flight


def test_what_is_committed_before_the_group_exists_is_not_skipped(world: World) -> None:
    world.commit([(b"a", 1)])

    entries = world.stream("one").read(10, 0.01)

    assert [(entry.payload, entry.samples, entry.query) for entry in entries] == [(b"a", 1, "q")]


def test_an_entry_is_given_to_one_consumer_only(world: World) -> None:
    world.commit([(b"a", 1), (b"b", 2), (b"c", 3)])
    one, two = world.stream("one"), world.stream("two")

    taken = [entry.payload for entry in (*one.read(2, 0.01), *two.read(2, 0.01))]

    assert sorted(taken) == [b"a", b"b", b"c"]
    assert one.read(2, 0.01) == []


def test_a_settlement_moves_everything_at_once(world: World) -> None:
    world.commit([(b"a", 10)])
    stream = world.stream("one")
    (entry,) = stream.read(1, 0.01)
    verdict = Settle(
        outputs=[Output(b"x", 4), Output(b"y", 3)],
        drops={"nan": 1, "inf": 1},
        dead=[DeadLetter("rejected", "why", b"z", 1)],
    )

    assert stream.settle(entry, verdict, "transformer") is SettleResult.OK

    audit = world.audit()
    account = audit.accounts["q@hot"]
    assert (account.extracted, account.in_flight, account.dead_lettered) == (10, 7, 1)
    assert account.dropped == {"nan": 1, "inf": 1}
    assert audit.imbalance_samples == 0
    assert audit.dead_letter_entries == 1
    points = world.stream("loader", POINTS).read(10, 0.01)
    assert [(entry.payload, entry.samples) for entry in points] == [(b"x", 4), (b"y", 3)]
    assert {entry.window_id for entry in points} == {entry.window_id}


def test_a_window_is_settled_when_the_last_of_its_entries_is(world: World) -> None:
    world.commit([(b"a", 2), (b"b", 1)])
    stream, loader = world.stream("one"), world.stream("loader", POINTS)
    first, second = stream.read(2, 0.01)
    stream.settle(first, Settle(outputs=[Output(b"x", 1), Output(b"y", 1)]), "transformer")
    stream.settle(second, Settle(drops={"nan": 1}), "transformer")
    assert world.unsettled() == 1

    for entry in loader.read(10, 0.01):
        assert world.unsettled() == 1
        assert loader.settle(entry, Settle(loaded=1), "loader") is SettleResult.OK

    assert world.unsettled() == 0
    assert world.audit().accounts["q@hot"].loaded == 2


def test_settling_twice_is_refused_and_changes_nothing(world: World) -> None:
    world.commit([(b"a", 1)])
    stream = world.stream("one")
    (entry,) = stream.read(1, 0.01)
    assert stream.settle(entry, Settle(loaded=1), "loader") is SettleResult.OK
    before = world.audit()

    assert stream.settle(entry, Settle(loaded=1), "loader") is SettleResult.REFUSED

    assert world.audit() == before


def test_a_verdict_that_does_not_add_up_is_refused_whole(world: World) -> None:
    world.commit([(b"a", 3)])
    stream = world.stream("one")
    (entry,) = stream.read(1, 0.01)
    before = world.audit()

    assert stream.settle(entry, Settle(loaded=2), "loader") is SettleResult.MISMATCH

    assert world.audit() == before
    assert stream.settle(entry, Settle(loaded=3), "loader") is SettleResult.OK


def test_a_dead_workers_entries_are_claimed_alone_and_it_cannot_settle_them(world: World) -> None:
    world.commit([(b"a", 1), (b"b", 1)])
    dead, heir = world.stream("dead"), world.stream("heir")
    held = dead.read(2, 0.01)
    assert heir.claim(10).entries == []

    world.expire_leases()
    (first,) = heir.claim(10).entries
    (second,) = heir.claim(10).entries

    assert {first.id, second.id} == {entry.id for entry in held}
    assert (first.crashes, second.crashes) == (1, 1)
    assert dead.settle(held[0], Settle(loaded=1), "loader") is SettleResult.REFUSED
    assert dead.renew([entry.id for entry in held]) == [entry.id for entry in held]
    assert heir.settle(first, Settle(loaded=1), "loader") is SettleResult.OK


def test_each_death_counts_once(world: World) -> None:
    world.commit([(b"a", 1)])
    world.stream("w0").read(1, 0.01)
    seen = []
    for number in range(1, 4):
        world.expire_leases()
        (entry,) = world.stream(f"w{number}").claim(10).entries
        seen.append(entry.crashes)

    assert seen == [1, 2, 3]


def test_renewing_keeps_an_entry(world: World) -> None:
    world.commit([(b"a", 1)])
    one, two = world.stream("one"), world.stream("two")
    (entry,) = one.read(1, 0.01)
    world.expire_leases()

    assert one.renew([entry.id]) == []

    assert two.claim(10).entries == []
    assert one.settle(entry, Settle(loaded=1), "loader") is SettleResult.OK


def test_what_is_given_back_waits_and_counts_no_crash(world: World) -> None:
    world.commit([(b"a", 1), (b"b", 1)])
    one, two = world.stream("one"), world.stream("two")
    entries = one.read(2, 0.01)
    assert one.release([entry.id for entry in entries], after_seconds=5) == 2
    assert one.settle(entries[0], Settle(loaded=1), "loader") is SettleResult.REFUSED
    assert two.claim(10).entries == []

    world.clock.advance(6)
    again = two.claim(10).entries

    assert [entry.crashes for entry in again] == [0, 0]
    assert {entry.id for entry in again} == {entry.id for entry in entries}
    assert world.audit().imbalance_samples == 0


def test_what_a_worker_fails_counts_and_comes_alone(world: World) -> None:
    world.commit([(b"a", 1), (b"b", 1)])
    one = world.stream("one")
    entries = one.read(2, 0.01)
    one.release([entry.id for entry in entries], crashed=True)

    first = one.claim(10).entries
    second = one.claim(10).entries

    assert [len(first), len(second)] == [1, 1]
    assert first[0].crashes == 1


def test_our_own_stale_entry_comes_back_without_a_crash(world: World) -> None:
    world.commit([(b"a", 1)])
    one = world.stream("one")
    one.read(1, 0.01)
    world.expire_leases()

    (entry,) = one.claim(10).entries

    assert entry.crashes == 0


def test_an_entry_deleted_while_pending_is_reported_and_stays_missing(world: World) -> None:
    world.commit([(b"a", 5)])
    one, two = world.stream("one"), world.stream("two")
    (entry,) = one.read(1, 0.01)
    world.expire_leases()
    world.delete_entry(entry.id)
    assert one.renew([entry.id]) == []

    claimed = two.claim(10)

    assert (list(claimed.entries), list(claimed.deleted)) == ([], [entry.id])
    assert list(two.claim(10).deleted) == []
    audit = world.audit()
    assert audit.imbalance_samples == 5
    assert audit.streams[RAW].lost_samples == {"q@hot": 5}


def test_an_entry_deleted_in_hand_can_still_be_settled(world: World) -> None:
    world.commit([(b"a", 5)])
    stream = world.stream("one")
    (entry,) = stream.read(1, 0.01)
    world.delete_entry(entry.id)

    assert stream.settle(entry, Settle(loaded=5), "loader") is SettleResult.OK

    audit = world.audit()
    assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)


def test_an_entry_acknowledged_by_hand_shows_as_lost(world: World) -> None:
    world.commit([(b"a", 5), (b"b", 2), (b"c", 1)])
    stream = world.stream("one")
    first, second = stream.read(2, 0.01)
    world.acknowledge(first.id)

    audit = world.audit()

    assert audit.streams[RAW].lost_samples == {"q@hot": 5}
    assert (audit.imbalance_samples, audit.total.in_flight) == (5, 3)
    world.expire_leases()
    assert stream.settle(second, Settle(loaded=2), "loader") is SettleResult.OK
    assert stream.claim(10).entries == []
    assert [entry.payload for entry in stream.read(10, 0.01)] == [b"c"]


def test_a_lost_payload_shows_and_is_marked(world: World) -> None:
    world.commit([(b"a", 5)])
    stream = world.stream("one")
    (probe,) = stream.read(1, 0.01)
    world.delete_payload(probe.id)

    assert world.audit().imbalance_samples == 5

    world.expire_leases()
    (entry,) = stream.claim(1).entries
    assert entry.payload_missing


def test_an_unaccounted_entry_is_reported_and_can_still_be_settled(world: World) -> None:
    world.commit([(b"a", 5)])
    stream = world.stream("one")
    (probe,) = stream.read(1, 0.01)
    world.forget_booking(probe.id)

    audit = world.audit()
    assert audit.imbalance_samples == 5
    assert audit.streams[RAW].unaccounted_entries == 1

    assert stream.settle(probe, Settle(loaded=5), "loader") is SettleResult.OK
    assert world.audit().imbalance_samples == 0


def test_dead_letters_at_their_cap_leave_the_entry_pending(world: World) -> None:
    world.commit([(b"a", 1), (b"b", 1)])
    stream = world.stream("one", dead_max=1)
    first, second = stream.read(2, 0.01)
    letter = Settle(dead=[DeadLetter("rejected", "why", b"z", 1)])
    assert stream.settle(first, letter, "loader") is SettleResult.OK

    assert stream.settle(second, letter, "loader") is SettleResult.DEAD_FULL

    assert in_flight(world.audit()) == 1
    assert stream.settle(second, Settle(loaded=1), "loader") is SettleResult.OK


def test_only_idle_hands_are_forgotten(world: World) -> None:
    world.commit([(b"a", 1), (b"b", 1)])
    busy, idle = world.stream("busy"), world.stream("idle")
    (entry,) = busy.read(1, 0.01)
    (other,) = idle.read(1, 0.01)
    idle.settle(other, Settle(loaded=1), "loader")

    assert busy.forget_consumers(0) == 1

    assert busy.settle(entry, Settle(loaded=1), "loader") is SettleResult.OK


def test_many_entries_that_must_wait_do_not_hide_those_behind_them(world: World) -> None:
    world.commit([(b"a", 1)] * 250)
    dead, busy, heir = world.stream("dead"), world.stream("busy"), world.stream("heir")
    waiting = busy.read(240, 0.01)
    ready = busy.read(5, 0.01)
    dead.read(5, 0.01)
    busy.release([entry.id for entry in waiting], after_seconds=10_000)
    busy.release([entry.id for entry in ready])

    claimed = heir.claim(10).entries
    assert {entry.id for entry in claimed} == {entry.id for entry in ready}
    for entry in claimed:
        heir.settle(entry, Settle(loaded=1), "loader")
    world.expire_leases()
    assert [entry.crashes for entry in heir.claim(10).entries] == [1]


# -- on real Redis only ---------------------------------------------------------------------------


def test_at_maxmemory_what_a_dead_worker_held_is_taken_over_and_settled(
    redis_client: Redis,
) -> None:
    world = RedisWorld(redis_client)
    world.commit([(b"a", 1)])
    dead, heir = world.stream("dead"), world.stream("heir")
    dead.read(1, 0.01)
    world.expire_leases()
    redis_client.config_set("maxmemory", 1)
    try:
        (entry,) = heir.claim(10).entries
        assert heir.settle(entry, Settle(loaded=1), "loader") is SettleResult.OK
    finally:
        redis_client.config_set("maxmemory", 0)

    assert entry.crashes == 1
    assert world.audit().accounts["q@hot"].loaded == 1


@pytest.mark.parametrize("samples", ["nan", "inf", "1e999", "-5", "0x10", "9" * 400, ""])
def test_a_foreign_entry_does_not_blind_the_audit(redis_client: Redis, samples: str) -> None:
    world = RedisWorld(redis_client)
    world.commit([(b"a", 5)])
    redis_client.xadd(world.keys.stream(RAW), {"samples": samples})

    audit = world.audit()

    assert (audit.imbalance_samples, audit.total.in_flight) == (0, 5)
    assert (audit.streams[RAW].unaccounted_entries, audit.streams[RAW].unaccounted_samples) == (
        1,
        0,
    )


def test_an_entry_copied_by_hand_leaves_the_other_its_payload(redis_client: Redis) -> None:
    world = RedisWorld(redis_client)
    world.commit([(b"a", 5)])
    stream = world.stream("one")
    (entry,) = stream.read(1, 0.01)
    redis_client.xadd(world.keys.stream(RAW), dict(entry.fields.items()))
    (copied,) = stream.read(1, 0.01)

    assert stream.settle(copied, Settle(drops={"nan": 5}), "loader") is SettleResult.OK

    audit = world.audit()
    assert (audit.lost_samples, audit.imbalance_samples) == (0, 5), "five came from nowhere"
    assert stream.settle(entry, Settle(loaded=5), "loader") is SettleResult.OK
    assert redis_client.keys(world.keys.payload("*")) == []


def test_a_group_that_was_moved_on_by_hand_shows_as_loss(redis_client: Redis) -> None:
    world = RedisWorld(redis_client)
    world.commit([(b"a", 1)] * 600)
    stream = world.stream("one")
    held = stream.read(550, 0.01)
    redis_client.xgroup_setid(world.keys.stream(RAW), GROUP, "$")

    audit = world.audit()

    assert audit.streams[RAW].lost_samples == {"q@hot": 50}
    assert audit.total.in_flight == len(held)


@pytest.mark.parametrize("damaged", ["abc", "", "1.5", "9" * 5000])
def test_a_damaged_field_of_the_ledger_shows_as_imbalance(
    redis_client: Redis, damaged: str
) -> None:
    world = RedisWorld(redis_client)
    world.commit([(b"a", 5)])
    redis_client.hset(world.keys.ledger, mapping={"q@hot|extracted": damaged, "foreign": damaged})

    assert world.audit().imbalance_samples == 5
