"""The record of what was read from another replica than the first, on a real Redis."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from redis import Redis

from common.state.feeds import Feed, Window
from common.state.history import ReplicasRead
from common.state.keys import Keys

KEYS = Keys("etl")


FEED = Feed("q", "hot", "select", "f")


@pytest.fixture
def record(redis_client: Redis) -> ReplicasRead:
    return ReplicasRead(redis_client, KEYS)


@pytest.fixture(autouse=True)
def leased(redis_client: Redis) -> None:
    """The window that is noted, under the lease with token 7."""
    redis_client.hset(KEYS.windows(FEED.name), "w", json.dumps({"t": "7"}))


def note(record: ReplicasRead, start_ms: int, end_ms: int, replica: str, token: str = "7") -> None:
    record.note(FEED, Window("w", start_ms, end_ms, token, 0, "live"), replica)


def test_a_window_that_is_another_workers_by_now_is_not_noted(
    record: ReplicasRead, redis_client: Redis
) -> None:
    note(record, 0, 10, "a")
    note(record, 0, 10, "b", token="6")
    assert record.of(FEED.name) == [(0, 10, "a")]
    redis_client.hdel(KEYS.windows(FEED.name), "w")
    note(record, 0, 10, "b")
    redis_client.hset(KEYS.windows(FEED.name), "w", "no record")
    note(record, 0, 10, "b")
    assert record.of(FEED.name) == [(0, 10, "a")]


def test_a_window_of_a_backfill_is_noted_for_its_query(
    record: ReplicasRead, redis_client: Redis
) -> None:
    part = replace(FEED, backfill="one")
    redis_client.hset(KEYS.windows(part.state_name), "w", json.dumps({"t": "8"}))
    record.note(part, Window("w", 0, 10, "8", 0, "catchup"), "b")
    assert record.of(FEED.name) == [(0, 10, "b")]
    record.note(part, Window("w", 10, 20, "7", 0, "catchup"), "b")
    assert record.of(FEED.name) == [(0, 10, "b")]


def test_stretches_join_and_give_way(record: ReplicasRead) -> None:
    note(record, 10, 20, "b")
    note(record, 20, 30, "b")
    assert record.of("q@hot") == [(10, 30, "b")]
    note(record, 15, 25, "a")
    assert record.of("q@hot") == [(10, 15, "b"), (15, 25, "a"), (25, 30, "b")]
    note(record, 0, 40, "c")
    assert record.of("q@hot") == [(0, 40, "c")]
    assert record.of("other@hot") == []


def test_each_instant_is_of_the_replica_that_was_noted_last(record: ReplicasRead) -> None:
    rng, known = random.Random(7), dict[int, str]()
    for _ in range(60):
        start = rng.randrange(99)
        end, replica = rng.randrange(start + 1, 100), rng.choice("abc")
        note(record, start, end, replica)
        known |= dict.fromkeys(range(start + 1, end + 1), replica)
    stretches = record.of("q@hot")
    assert {at: one for start, end, one in stretches for at in range(start + 1, end + 1)} == known
    assert len(stretches) < len(known)


def test_what_somebody_else_wrote_is_nothing(record: ReplicasRead, redis_client: Redis) -> None:
    redis_client.set(KEYS.replicas(FEED.name), "[1, 2]")
    assert record.of("q@hot") == []
    note(record, 0, 10, "a")
    assert record.of("q@hot") == [(0, 10, "a")]
