"""What becomes of the digests of entries: seals of whole windows, in whatever order they settle."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from common.samples.seal import Digest
from common.state.dead_letters.kept import DeadLetters
from common.state.keys import POINTS, RAW
from common.state.seals import DueSeal, Seals, windows_without_seal
from common.state.stream import SettleResult
from common.state.verdict import DeadLetter, Entry, Output, Settle
from tests.integration.state.worlds import FEED, STEP_MS, RedisWorld, extract, live, must

LARGE = Digest(3, (2**64 - 1, 2**63 + 2**32 - 1))
SMALL = Digest(2, (1, 2**63 + 1))
ZERO = "0" * 32


def due(world: RedisWorld) -> dict[tuple[int, bool], DueSeal]:
    """What is to be written, by the end of the window and whether it is what was replayed."""
    found = itertools.chain.from_iterable(Seals(world.redis, world.keys).pages())
    return {(seal.end_ms, seal.replayed): seal for seal in found}


def sealed(world: RedisWorld) -> list[tuple[int, str | None]]:
    """Points and digest of each window that is to be written, in order."""
    seals = due(world)
    return [(seals[key].points, seals[key].digest) for key in sorted(seals)]


def transform(world: RedisWorld, *digests: Digest | None) -> None:
    """Every raw entry becomes one output of a digest, in turn."""
    stream = world.stream("transformer")
    for entry, digest in zip(stream.read(10, 0.01), digests, strict=True):
        verdict = Settle(outputs=[Output(b"x", entry.samples, digest)])
        assert stream.settle(entry, verdict, "transformer") is SettleResult.OK


def load(world: RedisWorld, entry: Entry, digest: Digest | None) -> None:
    verdict = Settle(loaded=entry.samples, digest=digest)
    assert world.stream("loader", POINTS).settle(entry, verdict, "loader") is SettleResult.OK


def loading(world: RedisWorld) -> list[Entry]:
    return world.stream("loader", POINTS).read(10, 0.01)


def only(entries: list[Entry]) -> Entry:
    (entry,) = entries
    return entry


def parsed(entry: Entry) -> Digest:
    return Digest.parse(entry.samples, entry.digest)


def test_a_window_without_samples_is_sealed_at_once(redis_world: RedisWorld) -> None:
    extract(redis_world, [])

    (seal,) = due(redis_world).values()

    assert (seal.query, seal.tier, seal.start_ms, seal.end_ms) == ("q", "hot", 0, STEP_MS)
    assert (seal.points, seal.digest, seal.sealed_ms) == (0, ZERO, redis_world.clock.ms)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_entries_settle_in_any_order(redis_world: RedisWorld, order: Sequence[int]) -> None:
    extract(redis_world, [(b"a", 3), (b"b", 2), (b"c", 3)])
    committed_ms = redis_world.clock.ms
    transform(redis_world, LARGE, SMALL, LARGE)
    entries = loading(redis_world)
    for index in order:
        assert due(redis_world) == {}
        redis_world.clock.advance(1)
        load(redis_world, entries[index], parsed(entries[index]))

    (seal,) = due(redis_world).values()

    whole = LARGE + SMALL + LARGE
    assert (seal.points, seal.digest) == (whole.points, whole.text)
    assert (seal.start_ms, seal.end_ms, seal.sealed_ms) == (0, STEP_MS, committed_ms)
    assert redis_world.redis.hlen(redis_world.keys.seals) == 0


def test_what_is_dropped_or_dead_is_not_in_the_seal(redis_world: RedisWorld) -> None:
    extract(redis_world, [(b"a", 5), (b"b", 4)])
    raw, loader = redis_world.stream("one"), redis_world.stream("loader", POINTS)
    first, second = raw.read(2, 0.01)
    raw.settle(first, Settle(outputs=[Output(b"x", 3, LARGE)], drops={"nan": 2}), "transformer")
    dead = DeadLetter("unreadable_labels", "why", b"z", 4)
    raw.settle(second, Settle(dead=[dead]), "transformer")
    (entry,) = loader.read(10, 0.01)
    refused = DeadLetter("rejected", "why", b"z", 1)
    verdict = Settle(loaded=2, digest=SMALL, dead=[refused])
    assert loader.settle(entry, verdict, "loader") is SettleResult.OK

    assert sealed(redis_world) == [(2, SMALL.text)]


def test_a_settlement_that_is_refused_adds_nothing(redis_world: RedisWorld) -> None:
    extract(redis_world, [(b"a", 3)])
    transform(redis_world, LARGE)
    (entry,) = loading(redis_world)
    stream = redis_world.stream("other", POINTS)
    verdict = Settle(loaded=3, digest=LARGE)
    assert stream.settle(entry, verdict, "loader") is SettleResult.REFUSED
    load(redis_world, entry, LARGE)
    own = redis_world.stream("loader", POINTS)
    assert own.settle(entry, verdict, "loader") is SettleResult.REFUSED

    assert sealed(redis_world) == [(3, LARGE.text)]


def test_a_digest_that_is_not_known_makes_the_seal_unknown(redis_world: RedisWorld) -> None:
    extract(redis_world, [(b"a", 3), (b"b", 2)])
    transform(redis_world, LARGE, SMALL)
    first, second = loading(redis_world)
    load(redis_world, first, None)
    load(redis_world, second, SMALL)

    assert sealed(redis_world) == [(0, None)]


def again(world: RedisWorld, payloads: Sequence[tuple[bytes, int]]) -> None:
    """Extract the feed's time once more."""
    windows = world.windows()
    windows.reopen(FEED, 0, STEP_MS)
    window = must(live(windows))
    staged = [windows.stage(payload, samples, 3600) for payload, samples in payloads]
    assert windows.commit(FEED, window, staged) == "committed"


def test_a_later_extraction_replaces_the_seal(redis_world: RedisWorld) -> None:
    extract(redis_world, [(b"a", 3)])
    transform(redis_world, LARGE)
    load(redis_world, only(loading(redis_world)), LARGE)
    redis_world.clock.advance(3600)
    again(redis_world, [(b"b", 2)])
    transform(redis_world, SMALL)
    load(redis_world, only(loading(redis_world)), SMALL)

    (seal,) = due(redis_world).values()

    assert (seal.digest, seal.sealed_ms) == (SMALL.text, redis_world.clock.ms)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("later", [[(b"b", 2)], []])
def test_of_two_extractions_under_way_the_later_one_seals(
    redis_world: RedisWorld, newest_first: bool, later: list[tuple[bytes, int]]
) -> None:
    extract(redis_world, [(b"a", 3)])
    again(redis_world, later)
    transform(redis_world, *(LARGE, SMALL)[: 1 + len(later)])
    entries = loading(redis_world)
    for entry in reversed(entries) if newest_first else entries:
        load(redis_world, entry, parsed(entry))

    assert sealed(redis_world) == ([(2, SMALL.text)] if later else [(0, ZERO)])
    assert redis_world.redis.hlen(redis_world.keys.seals) == 0


def refuse(world: RedisWorld, entry: Entry) -> None:
    text = b"".join(b"m value=1 1\n" for _ in range(entry.samples))
    verdict = Settle(dead=[DeadLetter("rejected", "why", text, entry.samples)])
    assert world.stream("loader", POINTS).settle(entry, verdict, "loader") is SettleResult.OK


def replay(world: RedisWorld) -> None:
    letters = DeadLetters(world.redis, world.keys)
    for letter in list(letters):
        assert letters.replay(letter)


def test_what_is_replayed_before_the_window_is_settled_is_in_its_seal(
    redis_world: RedisWorld,
) -> None:
    extract(redis_world, [(b"a", 3), (b"b", 2)])
    transform(redis_world, LARGE, SMALL)
    first, second = loading(redis_world)
    refuse(redis_world, second)
    replay(redis_world)
    load(redis_world, first, LARGE)
    assert due(redis_world) == {}
    load(redis_world, only(loading(redis_world)), SMALL)

    assert sealed(redis_world) == [(5, (LARGE + SMALL).text)]


def test_what_is_replayed_afterwards_has_a_seal_of_its_own_that_grows(
    redis_world: RedisWorld,
) -> None:
    world = redis_world
    extract(world, [(b"a", 3), (b"b", 2), (b"c", 2)])
    transform(world, LARGE, SMALL, SMALL)
    first, *others = loading(world)
    load(world, first, LARGE)
    for entry in others:
        refuse(world, entry)
    replay(world)
    world.clock.advance(60)
    one, two = loading(world)
    load(world, one, SMALL)
    refuse(world, two)
    assert due(world)[STEP_MS, True].digest == SMALL.text
    Seals(world.redis, world.keys).forget(list(due(world).values()))

    replay(world)
    load(world, only(loading(world)), SMALL)

    (seal,) = due(world).values()
    assert (seal.replayed, seal.start_ms, seal.end_ms) == (True, 0, STEP_MS)
    assert (seal.points, seal.digest) == (4, (SMALL + SMALL).text)
    assert seal.sealed_ms == world.clock.ms


def test_a_replay_says_which_extraction_it_belongs_to(redis_world: RedisWorld) -> None:
    world = redis_world
    extract(world, [(b"a", 2)])
    transform(world, SMALL)
    refuse(world, only(loading(world)))
    again(world, [(b"b", 3)])
    transform(world, LARGE)
    load(world, only(loading(world)), LARGE)
    replay(world)
    load(world, only(loading(world)), SMALL)

    seals = due(world)

    assert seals[STEP_MS, False].window != seals[STEP_MS, True].window
    assert seals[STEP_MS, False].digest == LARGE.text
    again(world, [(b"c", 2)])
    transform(world, SMALL)
    refuse(world, only(loading(world)))
    replay(world)
    load(world, only(loading(world)), SMALL)
    assert due(world)[STEP_MS, True].points == 2, "what was replayed of the older one is void"


def test_replays_of_two_extractions_make_an_unknown_seal(redis_world: RedisWorld) -> None:
    world = redis_world
    for number, more in enumerate((extract, again)):
        more(world, [(b"%d" % number, 2)])
        transform(world, SMALL)
        refuse(world, only(loading(world)))
    replay(world)
    for entry in loading(world):
        load(world, entry, SMALL)

    assert due(world)[STEP_MS, True].digest is None


def test_a_dead_letter_of_the_transformer_is_sealed_when_it_is_replayed(
    redis_world: RedisWorld,
) -> None:
    world = redis_world
    extract(world, [(b"a", 2)])
    (entry,) = world.stream("one").read(1, 0.01)
    verdict = Settle(dead=[DeadLetter("undecodable", "why", b"z", 2)])
    world.stream("one").settle(entry, verdict, "transformer")
    assert sealed(world) == [(0, ZERO)]
    replay(world)
    transform(world, SMALL)
    load(world, only(loading(world)), SMALL)

    assert due(world)[STEP_MS, True].digest == SMALL.text


def test_only_what_was_written_is_forgotten(redis_world: RedisWorld) -> None:
    seals = Seals(redis_world.redis, redis_world.keys)
    extract(redis_world, [])
    written = list(due(redis_world).values())
    redis_world.clock.advance(1)
    again(redis_world, [])

    assert seals.forget(written) == 0

    assert seals.forget(list(due(redis_world).values())) == 1
    assert due(redis_world) == {}


def test_what_is_no_seal_of_ours_is_removed(redis_world: RedisWorld) -> None:
    extract(redis_world, [])
    odd: Any = {"q@hot": "1 2", "q@hot 5": "no seal", "q@hot x": "0 1 - 1 w", b"\xff": b"\xff"}
    redis_world.redis.hset(redis_world.keys.seals_due, mapping=odd)

    assert list(due(redis_world)) == [(STEP_MS, False)]

    assert redis_world.redis.hlen(redis_world.keys.seals_due) == 1


@pytest.mark.parametrize("damaged", ["", "x", "w 1 1 1 xyz", "w 1 1 1 " + "0" * 31, "w - 1 1 -"])
def test_a_damaged_sum_makes_the_seal_unknown(redis_world: RedisWorld, damaged: str) -> None:
    extract(redis_world, [(b"a", 3)])
    transform(redis_world, LARGE)
    (field,) = redis_world.redis.hkeys(redis_world.keys.seals)
    redis_world.redis.hset(redis_world.keys.seals, field, damaged)
    load(redis_world, only(loading(redis_world)), LARGE)

    assert sealed(redis_world) == [(0, None)]
    assert redis_world.audit().imbalance_samples == 0


def test_at_maxmemory_the_loader_settles_and_seals(redis_world: RedisWorld) -> None:
    extract(redis_world, [(b"a", 3)])
    transform(redis_world, LARGE)
    loader = redis_world.stream("loader", POINTS)
    (entry,) = loader.read(1, 0.01)
    redis_world.redis.config_set("maxmemory", 1)
    try:
        verdict = Settle(loaded=3, digest=LARGE)
        assert loader.settle(entry, verdict, "loader") is SettleResult.OK
    finally:
        redis_world.redis.config_set("maxmemory", 0)

    assert sealed(redis_world) == [(3, LARGE.text)]


def test_entries_say_the_bounds_of_their_window(redis_world: RedisWorld) -> None:
    extract(redis_world, [(b"a", 3)])
    raw: Any = redis_world.redis.xrange(redis_world.keys.stream(RAW))
    transform(redis_world, LARGE)
    points: Any = redis_world.redis.xrange(redis_world.keys.stream(POINTS))

    for _, fields in (*raw, *points):
        assert (fields[b"start_ms"], fields[b"end_ms"]) == (b"0", str(STEP_MS).encode())
    assert points[0][1][b"digest"] == LARGE.text.encode()


def test_windows_are_known_until_their_seals_are_written(redis_world: RedisWorld) -> None:
    redis, keys = redis_world.redis, redis_world.keys

    def known() -> list[tuple[int, int]]:
        return windows_without_seal(redis, keys, FEED.name)

    redis.hset(keys.committed, mapping={"x": "who knows", "y": "other@hot 0 1"})
    redis.hset(keys.seals_due, mapping={f"{FEED.name} 1": "?", "other@hot 2": f"1 0 {ZERO} 3 w"})
    assert known() == []
    extract(redis_world, [(b"a", 3)])
    assert known() == [(0, STEP_MS)]
    transform(redis_world, LARGE)
    (entry,) = loading(redis_world)
    load(redis_world, entry, LARGE)
    assert known() == [(0, STEP_MS)]
    assert Seals(redis, keys).forget(list(due(redis_world).values())) == 2
    assert known() == []
