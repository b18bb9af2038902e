"""Rolling upgrades: what a version without seals does makes a seal unknown, never wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from common.state import scripts, stream
from common.state.keys import POINTS
from common.state.seals import Seals
from common.state.verdict import DeadLetter, Output, Settle
from tests.integration.state.seals.test_seals import (
    LARGE,
    SMALL,
    due,
    load,
    loading,
    only,
    refuse,
    replay,
    transform,
)
from tests.integration.state.worlds import STEP_MS, RedisWorld, extract

# What an older version's scripts do not do.
MISSING = {
    "commit": (
        "a.start_ms, a.end_ms = window.s, window.e",
        "redis.call('HDEL', seals_replayed, seal)",
        "redis.call('HSET', seals, seal, pack_seal(id, entries, now, 0, NO_DIGEST))",
        "redis.call('HDEL', seals, seal)",
        "redis.call('HSET', seals_due, seal, due_seal(window.s, 0, NO_DIGEST, now, id))",
    ),
    "settle": ("if first_ms then settle_seal(left) end", "  add_replayed()\n"),
    "replay": (
        "letter.start_ms, letter.end_ms = count_of(letter.start_ms), count_of(letter.end_ms)",
        "redis.call('HSET', KEYS[10], field, pack_seal(window, entries + 1, committed_ms, points, "
        "digest))",
    ),
}

Version = Callable[[bool], AbstractContextManager[None]]


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> Version:
    """Within it, if told so, everything is done as an older version does it."""
    whole = scripts.source

    def source(name: str) -> str:
        text = whole(name)
        for part in MISSING.get(name, ()):
            assert part in text
            text = text.replace(part, "letter.start_ms = nil" if "count_of" in part else "")
        return text

    @contextmanager
    def version(is_older: bool) -> Iterator[None]:
        with monkeypatch.context() as patch:
            if is_older:
                patch.setattr(scripts, "source", source)
                patch.setattr(stream, "_seal_of", lambda entry, verdict: {})
            yield

    return version


EVERY = list(itertools.product([False, True], repeat=5))


@pytest.mark.parametrize("committed_by_older", [False, True])
@pytest.mark.parametrize("replayed", [False, True])
def test_no_mixture_of_versions_makes_a_wrong_seal(
    redis_world: RedisWorld, older: Version, committed_by_older: bool, replayed: bool
) -> None:
    """Who transforms and loads each of two entries, and who replays one, in every combination."""
    world, outcomes = redis_world, set()
    for first_raw, second_raw, first, second, replays in EVERY:
        world.lose_everything()
        with older(committed_by_older):
            extract(world, [(b"a", 3), (b"b", 2)])
        raw = world.stream("transformer").read(2, 0.01)
        for entry, is_older, digest in zip(
            raw, (first_raw, second_raw), (LARGE, SMALL), strict=True
        ):
            with older(is_older):
                world.stream("transformer").settle(
                    entry,
                    Settle(outputs=[Output(b"x", entry.samples, None if is_older else digest)]),
                    "transformer",
                )
        one, two = loading(world)
        with older(second):
            if replayed:
                refuse(world, two)
        if replayed:
            with older(replays):
                replay(world)
            two = only(loading(world))
        with older(first):
            load(world, one, LARGE)
        with older(second):
            load(world, two, SMALL)

        seals = due(world)
        used = (committed_by_older, first_raw, second_raw, first, second, replayed and replays)
        if not any(used):
            assert seals[STEP_MS, False].digest == (LARGE + SMALL).text
        for seal in seals.values():
            assert not seal.replayed
            assert (seal.points, seal.digest) in ((5, (LARGE + SMALL).text), (0, None))
            outcomes.add(seal.digest)
        Seals(world.redis, world.keys).sweep()
        assert world.redis.hlen(world.keys.seals) == 0
        assert world.unsettled() == 0
    assert None in outcomes


def test_an_older_loader_that_drops_what_a_replay_adds_shows(
    redis_world: RedisWorld, older: Version
) -> None:
    """As many entries are left as the seal has counted, but not the same ones."""
    world = redis_world
    extract(world, [(b"a", 3), (b"b", 3), (b"c", 2)])
    transform(world, LARGE, LARGE, SMALL)
    first, second, third = loading(world)
    refuse(world, first)
    with older(True):
        load(world, second, None)
        replay(world)
    load(world, third, SMALL)
    load(world, only(loading(world)), LARGE)

    assert due(world)[STEP_MS, False].digest is None


def test_an_older_transformers_two_outputs_show(redis_world: RedisWorld, older: Version) -> None:
    world = redis_world
    extract(world, [(b"a", 5)])
    (entry,) = world.stream("one").read(1, 0.01)
    with older(True):
        outputs = [Output(b"x", 3, None), Output(b"x", 2, None)]
        world.stream("one").settle(entry, Settle(outputs=outputs), "transformer")
    for points in loading(world):
        load(world, points, LARGE if points.samples == 3 else SMALL)

    assert due(world)[STEP_MS, False].digest is None


def test_a_dead_letter_of_an_older_version_is_replayed_without_a_seal(
    redis_world: RedisWorld, older: Version
) -> None:
    world = redis_world
    extract(world, [(b"a", 2)])
    transform(world, SMALL)
    (entry,) = loading(world)
    with older(True):
        verdict = Settle(dead=[DeadLetter("rejected", "why", b"m value=1 1\nm value=2 2\n", 2)])
        world.stream("loader", POINTS).settle(entry, verdict, "loader")
    replay(world)
    load(world, only(loading(world)), SMALL)

    assert due(world) == {}
    assert world.audit().imbalance_samples == 0
