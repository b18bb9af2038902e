"""The record of what was read from another replica than the first, on a real Redis."""

from __future__ import annotations

import random

import pytest
from redis import Redis

from common.state.history import ReplicasRead
from common.state.keys import Keys

KEYS = Keys("etl")


@pytest.fixture
def record(redis_client: Redis) -> ReplicasRead:
    return ReplicasRead(redis_client, KEYS)


def test_stretches_join_and_give_way(record: ReplicasRead) -> None:
    record.note("q@hot", 10, 20, "b")
    record.note("q@hot", 20, 30, "b")
    assert record.of("q@hot") == [(10, 30, "b")]
    record.note("q@hot", 15, 25, "a")
    assert record.of("q@hot") == [(10, 15, "b"), (15, 25, "a"), (25, 30, "b")]
    record.note("q@hot", 0, 40, "c")
    assert record.of("q@hot") == [(0, 40, "c")]
    assert record.of("other@hot") == []


def test_each_instant_is_of_the_replica_that_was_noted_last(record: ReplicasRead) -> None:
    rng, known = random.Random(7), dict[int, str]()
    for _ in range(60):
        start = rng.randrange(99)
        end, replica = rng.randrange(start + 1, 100), rng.choice("abc")
        record.note("q@hot", start, end, replica)
        known |= dict.fromkeys(range(start + 1, end + 1), replica)
    stretches = record.of("q@hot")
    assert {at: one for start, end, one in stretches for at in range(start + 1, end + 1)} == known
    assert len(stretches) < len(known)


def test_what_somebody_else_wrote_is_nothing(record: ReplicasRead, redis_client: Redis) -> None:
    redis_client.set(KEYS.replicas("q@hot"), "[1, 2]")
    assert record.of("q@hot") == []
    record.note("q@hot", 0, 10, "a")
    assert record.of("q@hot") == [(0, 10, "a")]
