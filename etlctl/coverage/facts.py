"""What Redis knows of feeds' time: the window set, gaps, dead letters, and what is proven."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from redis import Redis

from common.state.backfills import Backfills, by_feed
from common.state.dead_letters.counted import counted
from common.state.dead_letters.kept import DeadLetters
from common.state.dead_letters.payloads import with_payloads
from common.state.dead_letters.purged import LATEST_MS, extent_of, purged
from common.state.keys import Keys
from common.state.proven import FeedProof, ProofRecord
from common.state.status.coverage import Facts, Samples
from common.state.windows import WindowSet


def facts_of(redis: Redis, keys: Keys, feeds: Collection[str]) -> dict[str, Facts]:
    """What is known of each of ``feeds``, by name.

    Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """
    window_set = WindowSet(redis, keys)
    # Read before the feeds, which may join them meanwhile.
    parts = by_feed(Backfills(redis, keys).parts(), feeds)
    status = window_set.status()
    dead, timeless = _dead_letters(redis, keys, feeds)
    proofs = _proofs(redis, keys)
    found = {}
    for name in feeds:
        given_up = [Samples(*one) for one in purged(redis, keys, name)]
        facts = Facts(
            gaps=window_set.gaps(name),
            dead=dead[name],
            timeless_dead=timeless[name],
            purged=[one for one in given_up if one.end_ms != LATEST_MS],
            timeless_purged=sum(one.number for one in given_up if one.end_ms == LATEST_MS),
        )
        feed, proof = status.get(name), proofs.get(name)
        found[name] = facts.with_windows(feed, parts[name], proof) if feed else facts
    return found


def _proofs(redis: Redis, keys: Keys) -> Mapping[str, FeedProof]:
    """What is proven, by name of the feed. Nobody's lease: it is only read."""
    return ProofRecord(redis, keys, token="", lease_seconds=0).read()


def _dead_letters(
    redis: Redis, keys: Keys, feeds: Collection[str]
) -> tuple[Mapping[str, list[Samples]], Mapping[str, int]]:
    """By feed: where the samples in its dead letters lie, and how many lie nobody knows where."""
    placed: dict[str, list[Samples]] = defaultdict(list)
    timeless: dict[str, int] = defaultdict(int)
    ours = (letter for letter in DeadLetters(redis, keys) if letter.feed in feeds)
    for letter, payload in with_payloads(redis, keys, ours):
        start_ms, end_ms, _ = extent_of(payload or b"", letter.samples)
        if end_ms == LATEST_MS:
            timeless[letter.feed] += letter.samples
        else:
            placed[letter.feed].append(Samples(start_ms, end_ms, letter.samples))
    for letters in counted(redis, keys):
        if letters.feed in feeds:
            placed[letters.feed] += [Samples(*window) for window in letters.windows]
    return placed, timeless
