"""Dead letters counted page by page on a real Redis."""

from __future__ import annotations

import pytest
import redis

from common.state.dead_letters.kept import DeadLetters
from common.state.keys import Keys
from services.exporter.dead_letters import DeadLetterCounts


@pytest.fixture
def keys(redis_namespace: str) -> Keys:
    return Keys(redis_namespace)


def add_dead_letters(client: redis.Redis, keys: Keys, count: int, reason: str = "rejected") -> None:
    pipe = client.pipeline(transaction=False)
    for _ in range(count):
        pipe.xadd(
            keys.dead,
            {
                "stage": "loader",
                "reason": reason,
                "feed": "q@hot",
                "samples": "2",
                "payload": keys.payload("a"),
            },
        )
    pipe.execute()


def entries(counts: DeadLetterCounts) -> dict[str, int] | None:
    found = counts.read(lambda: True)
    return None if found is None else {key[1]: held.entries for key, held in found.items()}


def test_they_are_counted_as_they_come_and_go(redis_client: redis.Redis, keys: Keys) -> None:
    counts = DeadLetterCounts(redis_client, keys, page_entries=10, max_pages=5)
    letters = DeadLetters(redis_client, keys)
    assert entries(counts) == {}
    add_dead_letters(redis_client, keys, 12)
    assert entries(counts) == {"rejected": 12}
    add_dead_letters(redis_client, keys, 3, "poison")
    assert entries(counts) == {"rejected": 12, "poison": 3}
    assert entries(counts) == {"rejected": 12, "poison": 3}
    for letter in list(letters)[:5]:
        assert letters.purge(letter)
    assert entries(counts) == {"rejected": 7, "poison": 3}
    for letter in list(letters):
        letters.purge(letter)
    assert entries(counts) == {}


def test_one_that_came_for_one_that_went_is_noticed(redis_client: redis.Redis, keys: Keys) -> None:
    counts = DeadLetterCounts(redis_client, keys, page_entries=10, max_pages=5)
    add_dead_letters(redis_client, keys, 4)
    assert entries(counts) == {"rejected": 4}
    DeadLetters(redis_client, keys).purge(next(iter(DeadLetters(redis_client, keys))))
    add_dead_letters(redis_client, keys, 1, "poison")
    assert entries(counts) == {"rejected": 3, "poison": 1}


def test_a_heap_of_dead_letters_is_counted_over_several_readings(
    redis_client: redis.Redis, keys: Keys
) -> None:
    counts = DeadLetterCounts(redis_client, keys, page_entries=10, max_pages=5)
    add_dead_letters(redis_client, keys, 120)
    assert [entries(counts) for _ in range(3)] == [None, None, {"rejected": 120}]
    letters = DeadLetters(redis_client, keys)
    letters.purge(next(iter(letters)))
    # What was true a moment ago stands until all are counted again.
    seen = [entries(counts) for _ in range(4)]
    assert seen[0] == {"rejected": 120}
    assert seen[-1] == {"rejected": 119}


def test_samples_of_dead_letters(redis_client: redis.Redis, keys: Keys) -> None:
    add_dead_letters(redis_client, keys, 5)
    found = DeadLetterCounts(redis_client, keys).read(lambda: True)
    assert found is not None
    assert found[("loader", "rejected")].samples == 10


def test_counting_can_be_stopped(redis_client: redis.Redis, keys: Keys) -> None:
    add_dead_letters(redis_client, keys, 5)
    assert DeadLetterCounts(redis_client, keys).read(lambda: False) is None
