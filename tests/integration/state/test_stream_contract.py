"""One contract for the stream, held to by real Redis and by the one in memory."""

from __future__ import annotations

from common.state.keys import POINTS, RAW
from common.state.stream import SettleResult
from common.state.verdict import DeadLetter, Output, Settle
from tests.integration.state.worlds import World, extract


def test_what_is_committed_before_the_group_exists_is_not_skipped(world: World) -> None:
    extract(world, [(b"a", 1)])

    entries = world.stream("one").read(10, 0.01)

    assert [(entry.payload, entry.samples, entry.query) for entry in entries] == [(b"a", 1, "q")]


def test_an_entry_is_given_to_one_consumer_only(world: World) -> None:
    extract(world, [(b"a", 1), (b"b", 2), (b"c", 3)])
    one, two = world.stream("one"), world.stream("two")

    taken = [entry.payload for entry in (*one.read(2, 0.01), *two.read(2, 0.01))]

    assert sorted(taken) == [b"a", b"b", b"c"]
    assert one.read(2, 0.01) == []


def test_a_settlement_moves_everything_at_once(world: World) -> None:
    extract(world, [(b"a", 10)])
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
    extract(world, [(b"a", 2), (b"b", 1)])
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
    extract(world, [(b"a", 1)])
    stream = world.stream("one")
    (entry,) = stream.read(1, 0.01)
    assert stream.settle(entry, Settle(loaded=1), "loader") is SettleResult.OK
    before = world.audit()

    assert stream.settle(entry, Settle(loaded=1), "loader") is SettleResult.REFUSED

    assert world.audit() == before


def test_a_verdict_that_does_not_add_up_is_refused_whole(world: World) -> None:
    extract(world, [(b"a", 3)])
    stream = world.stream("one")
    (entry,) = stream.read(1, 0.01)
    before = world.audit()

    assert stream.settle(entry, Settle(loaded=2), "loader") is SettleResult.MISMATCH

    assert world.audit() == before
    assert stream.settle(entry, Settle(loaded=3), "loader") is SettleResult.OK


def test_a_dead_workers_entries_are_claimed_alone_and_it_cannot_settle_them(world: World) -> None:
    extract(world, [(b"a", 1), (b"b", 1)])
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
    extract(world, [(b"a", 1)])
    world.stream("w0").read(1, 0.01)
    seen = []
    for number in range(1, 4):
        world.expire_leases()
        (entry,) = world.stream(f"w{number}").claim(10).entries
        seen.append(entry.crashes)

    assert seen == [1, 2, 3]


def test_renewing_keeps_an_entry(world: World) -> None:
    extract(world, [(b"a", 1)])
    one, two = world.stream("one"), world.stream("two")
    (entry,) = one.read(1, 0.01)
    world.expire_leases()

    assert one.renew([entry.id]) == []

    assert two.claim(10).entries == []
    assert one.settle(entry, Settle(loaded=1), "loader") is SettleResult.OK


def test_what_is_released_waits_and_counts_no_crash(world: World) -> None:
    extract(world, [(b"a", 1), (b"b", 1)])
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
    extract(world, [(b"a", 1), (b"b", 1)])
    one = world.stream("one")
    entries = one.read(2, 0.01)
    one.release([entry.id for entry in entries], crashed=True)

    first = one.claim(10).entries
    second = one.claim(10).entries

    assert [len(first), len(second)] == [1, 1]
    assert first[0].crashes == 1


def test_our_own_stale_entry_comes_back_without_a_crash(world: World) -> None:
    extract(world, [(b"a", 1)])
    one = world.stream("one")
    one.read(1, 0.01)
    world.expire_leases()

    (entry,) = one.claim(10).entries

    assert entry.crashes == 0


def test_an_entry_deleted_while_pending_is_reported_and_stays_missing(world: World) -> None:
    extract(world, [(b"a", 5)])
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
    extract(world, [(b"a", 5)])
    stream = world.stream("one")
    (entry,) = stream.read(1, 0.01)
    world.delete_entry(entry.id)

    assert stream.settle(entry, Settle(loaded=5), "loader") is SettleResult.OK

    audit = world.audit()
    assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)


def test_an_entry_acknowledged_by_hand_shows_as_lost(world: World) -> None:
    extract(world, [(b"a", 5), (b"b", 2), (b"c", 1)])
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
    extract(world, [(b"a", 5)])
    stream = world.stream("one")
    (probe,) = stream.read(1, 0.01)
    world.delete_payload(probe.payload_key)

    assert world.audit().imbalance_samples == 5

    world.expire_leases()
    (entry,) = stream.claim(1).entries
    assert entry.payload_missing


def test_an_entry_without_a_record_is_reported_and_can_still_be_settled(world: World) -> None:
    extract(world, [(b"a", 5)])
    stream = world.stream("one")
    (probe,) = stream.read(1, 0.01)
    world.delete_record(probe.id)

    audit = world.audit()
    assert audit.imbalance_samples == 5
    assert audit.streams[RAW].unaccounted_entries == 1

    assert stream.settle(probe, Settle(loaded=5), "loader") is SettleResult.OK
    assert world.audit().imbalance_samples == 0


def test_dead_letters_at_their_cap_leave_the_entry_pending(world: World) -> None:
    extract(world, [(b"a", 1), (b"b", 1)])
    stream = world.stream("one", max_dead=1)
    first, second = stream.read(2, 0.01)
    letter = Settle(dead=[DeadLetter("rejected", "why", b"z", 1)])
    assert stream.settle(first, letter, "loader") is SettleResult.OK

    assert stream.settle(second, letter, "loader") is SettleResult.DEAD_FULL

    assert world.audit().total.in_flight == 1
    assert stream.settle(second, Settle(loaded=1), "loader") is SettleResult.OK


def test_only_consumers_without_entries_are_removed(world: World) -> None:
    extract(world, [(b"a", 1), (b"b", 1)])
    busy, idle = world.stream("busy"), world.stream("idle")
    (entry,) = busy.read(1, 0.01)
    (other,) = idle.read(1, 0.01)
    idle.settle(other, Settle(loaded=1), "loader")

    assert busy.forget_consumers(0) == 1

    assert busy.settle(entry, Settle(loaded=1), "loader") is SettleResult.OK


def test_many_entries_that_must_wait_do_not_hide_those_behind_them(world: World) -> None:
    extract(world, [(b"a", 1)] * 250)
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
