"""A dead letter that somebody removes by hand is loss, and the audit says so."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from common.state.dead_letters.kept import DeadLetters
from common.state.keys import POINTS, RAW, Keys
from common.state.ledger import Ledger
from common.state.stream import RedisStream
from common.state.verdict import DeadLetter, Settle
from common.state.windows import Feed, WindowSet

KEYS = Keys("held")
FEED = Feed("q", "hot", "expr", "f")
SAMPLES = 5
LATER_MS = 10**9


@pytest.fixture
def letters(redis_client: Redis) -> DeadLetters:
    """Three dead letters of five samples each, settled as a transformer does."""
    windows = WindowSet(redis_client, KEYS)
    stream = RedisStream(redis_client, KEYS, RAW, "worker", outbound=POINTS)
    stream.ensure()
    for number in range(1, 4):
        windows.plan(FEED, 0, number * 1000)
        window = windows.lease(FEED, "live", LATER_MS, LATER_MS)
        assert window is not None
        windows.commit(FEED, window, [windows.stage(b"payload", SAMPLES, 60)])
        (entry,) = stream.read(1, 0.01)
        refused = Settle(dead=[DeadLetter("rejected", "", b"why", SAMPLES)])
        stream.settle(entry, refused, "transformer")
    return DeadLetters(redis_client, KEYS)


def audit(redis: Redis) -> Any:
    """The ledger now."""
    return Ledger(redis, KEYS).audit()


def test_a_dead_letter_that_is_removed_by_hand_is_lost(
    redis_client: Redis, letters: DeadLetters
) -> None:
    purged, removed, replayed = letters
    assert audit(redis_client).imbalance_samples == 0

    redis_client.xdel(KEYS.dead, removed.id)
    found = audit(redis_client)
    assert (found.imbalance_samples, found.lost_samples) == (SAMPLES, SAMPLES)
    assert found.accounts["q@hot"].dead_lettered == 2 * SAMPLES

    assert letters.purge(purged)
    assert letters.replay(replayed)
    found = audit(redis_client)
    assert (found.imbalance_samples, found.lost_samples) == (SAMPLES, SAMPLES)
    assert redis_client.hlen(KEYS.dead_records) == 1


def test_all_dead_letters_removed_are_lost(redis_client: Redis, letters: DeadLetters) -> None:
    assert len(list(letters)) == 3
    redis_client.delete(KEYS.dead)
    assert audit(redis_client).imbalance_samples == 3 * SAMPLES


def test_dead_letters_of_before_and_foreign_entries_are_no_loss(
    redis_client: Redis, letters: DeadLetters
) -> None:
    found = list(letters)
    redis_client.delete(KEYS.dead_records)
    redis_client.xadd(KEYS.dead, {"who": "knows"})
    assert audit(redis_client).imbalance_samples == 0
    for letter in found:
        assert letters.purge(letter)
    found_now = audit(redis_client)
    assert found_now.imbalance_samples == 0
    assert found_now.accounts["q@hot"].dropped == {"purged": 3 * SAMPLES}
