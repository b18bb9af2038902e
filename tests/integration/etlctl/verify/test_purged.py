"""Dead letters that were purged explain their points: as many as they were, where they were."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import redis

from common.samples.batch import Origin, SampleBatch
from common.samples.columns import Samples
from common.state.dead_letters.kept import DeadLetters
from common.state.keys import POINTS, RAW, Keys
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import DeadLetter, Settle
from common.state.windows import Feed, WindowSet
from services.verifier.explain import EVERYWHERE, Allowance, Range
from services.verifier.knowledge import RedisKnowledge
from tests.integration.etlctl.verify.world import World, line

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def keys(redis_namespace: str) -> Keys:
    return Keys(redis_namespace)


@pytest.fixture
def letters(redis_client: redis.Redis, keys: Keys) -> DeadLetters:
    return DeadLetters(redis_client, keys)


def allowances(client: redis.Redis, keys: Keys) -> list[Allowance]:
    return list(RedisKnowledge(client, keys, "hot", {}).facts("raw").allowances)


def refuse(
    client: redis.Redis,
    keys: Keys,
    bounds_ms: tuple[int, int],
    payload: bytes,
    samples: int,
    sample: int = 0,
) -> None:
    """A window of the feed ``raw`` whose only entry ends as a dead letter."""
    feed = Feed("raw", "hot", "select", "any")
    windows = WindowSet(client, keys)
    windows.plan(feed, *bounds_ms)
    window = windows.lease(feed, "live", 10**12, 10**12)
    assert window is not None
    assert windows.commit(feed, window, [windows.stage(b"raw", samples, 60)]) == "committed"
    stream = RedisStream(client, keys, RAW, "w", outbound=POINTS, dead_letters_sample=sample)
    stream.ensure()
    (entry,) = stream.read(1, 1.0)
    verdict = Settle(dead=[DeadLetter("rejected", "because", payload, samples)])
    assert stream.settle(entry, verdict, "loader") is SettleResult.OK


def test_purged_points_are_no_loss_and_others_are(
    world: World,
    redis_client: redis.Redis,
    keys: Keys,
    letters: DeadLetters,
    capsys: Capture,
) -> None:
    points = [point for point in world.expected() if point[0][0] == "load"]
    purged, lost = points[:3], points[3:4]
    world.queries = [{"name": "raw", "select": 'load{job="app"}'}]
    world.write(points[4:])
    payload = gzip.compress("\n".join(map(line, purged)).encode())
    refuse(redis_client, keys, (world.start_ms, world.end_ms), payload, len(purged))
    assert all(letters.purge(letter) for letter in letters)

    result = world.verify(capsys, "--json")

    assert result.query()["missing"] == 4
    assert result.query()["explained"]["missing"] == {"purged": 3}
    assert [one["timestamp_ms"] for one in result.query()["examples"]] == [lost[0][1]]
    assert "dead-lettered and purged" in world.verify(capsys).out.replace("\n", " ")


def test_a_purged_point_explains_no_second_one_of_its_time(
    world: World,
    redis_client: redis.Redis,
    keys: Keys,
    letters: DeadLetters,
    capsys: Capture,
) -> None:
    first_ms = world.start_ms + 15_000
    points = world.expected()
    at_once = [point for point in points if point[1] == first_ms and point[0][0] == "load"]
    assert len(at_once) == 2
    world.write(point for point in points if point not in at_once)
    payload = line(at_once[0]).encode()
    refuse(redis_client, keys, (world.start_ms, world.end_ms), payload, 1)
    assert all(letters.purge(letter) for letter in letters)

    query = world.verify(capsys, "--json").query()

    assert (query["explained"]["missing"], query["unexplained"]) == ({"purged": 1}, 1)


def test_samples_that_were_never_transformed_are_noted_by_their_times(
    redis_client: redis.Redis, keys: Keys, letters: DeadLetters
) -> None:
    columns = Samples(
        (b'{"__name__":"m"}',), np.array([2]), np.array([30_000, 45_000]), np.array([1.0, 2.0])
    )
    batch = SampleBatch(Origin("raw", "select", "hot", "w", 0, 60_000), columns)
    refuse(redis_client, keys, (0, 60_000), batch.encode(), 2)
    assert all(letters.purge(letter) for letter in letters)
    assert allowances(redis_client, keys) == [Allowance("purged", Range(29_999, 45_000), 2)]


@pytest.mark.parametrize(
    "payload", [b"", b"\x00\xff garbage", b"\x1f\x8b broken", b"m value=1 x\n", b"m value=1"]
)
def test_where_nobody_can_read_them_they_may_be_anywhere(
    redis_client: redis.Redis, keys: Keys, letters: DeadLetters, payload: bytes
) -> None:
    refuse(redis_client, keys, (0, 60_000), payload, 5)
    assert all(letters.purge(letter) for letter in letters)
    assert allowances(redis_client, keys) == [Allowance("purged", EVERYWHERE, 5)]


def test_those_that_were_only_counted_are_noted_by_window(
    redis_client: redis.Redis, keys: Keys, letters: DeadLetters
) -> None:
    for end_ms in (60_000, 120_000, 180_000):
        refuse(redis_client, keys, (0, end_ms), b"m value=1 5\n", 1, sample=1)
    assert allowances(redis_client, keys) == [
        Allowance("dead_lettered_unreadable", Range(60_000, 120_000), 1),
        Allowance("dead_lettered_unreadable", Range(120_000, 180_000), 1),
    ]
    (counted,) = letters.counted()
    assert letters.purge(counted)
    assert allowances(redis_client, keys) == [
        Allowance("purged", Range(60_000, 120_000), 1),
        Allowance("purged", Range(120_000, 180_000), 1),
    ]


def test_those_that_are_extracted_again_are_not_noted(
    redis_client: redis.Redis, keys: Keys, letters: DeadLetters
) -> None:
    for end_ms in (60_000, 120_000):
        refuse(redis_client, keys, (0, end_ms), b"m value=1 5\n", 1, sample=1)
    (counted,) = letters.counted()
    assert letters.replay(counted)
    assert allowances(redis_client, keys) == []


def extract_again(client: redis.Redis, keys: Keys, start_ms: int, end_ms: int) -> None:
    """The time is opened again and committed without a sample, as one window."""
    feed = Feed("raw", "hot", "select", "any")
    windows = WindowSet(client, keys)
    assert windows.reopen(feed, start_ms, end_ms) == end_ms - start_ms
    window = windows.lease(feed, "live", 10**12, 10**12)
    assert window is not None
    assert (window.start_ms, window.end_ms) == (start_ms, end_ms)
    assert windows.commit(feed, window, []) == "committed"


def test_purged_points_that_were_extracted_again_must_be_there(
    world: World,
    redis_client: redis.Redis,
    keys: Keys,
    letters: DeadLetters,
    capsys: Capture,
) -> None:
    points = [point for point in world.expected() if point[0][0] == "load"]
    world.queries = [{"name": "raw", "select": 'load{job="app"}'}]
    world.write(points[1:])
    refuse(redis_client, keys, (world.start_ms, world.end_ms), line(points[0]).encode(), 1)
    assert all(letters.purge(letter) for letter in letters)
    assert world.verify(capsys, "--json").query()["unexplained"] == 0

    extract_again(redis_client, keys, world.start_ms, world.end_ms)

    query = world.verify(capsys, "--json").query()
    assert (query["missing"], query["unexplained"]) == (1, 1)


@pytest.mark.parametrize(
    ("again", "left"),
    [
        ((0, 60_000), []),
        ((20_000, 40_000), []),
        ((20_000, 30_000), [Range(30_000, 40_000)]),
        ((25_000, 60_000), [Range(20_000, 25_000)]),
        ((23_000, 30_000), [Range(30_000, 40_000)]),
        ((30_000, 39_000), [Range(20_000, 30_000)]),
        ((0, 20_000), [Range(20_000, 40_000)]),
        ((40_000, 60_000), [Range(20_000, 40_000)]),
    ],
)
def test_time_that_is_extracted_again_is_taken_out_of_what_was_purged(
    redis_client: redis.Redis,
    keys: Keys,
    letters: DeadLetters,
    again: tuple[int, int],
    left: list[Range],
) -> None:
    refuse(redis_client, keys, (0, 60_000), b"m value=1 20001\nm value=1 40000\n", 2)
    assert all(letters.purge(letter) for letter in letters)
    extract_again(redis_client, keys, *again)
    assert allowances(redis_client, keys) == [Allowance("purged", one, 2) for one in left]


def test_of_other_feeds_and_of_any_time_what_was_purged_stays(
    redis_client: redis.Redis, keys: Keys, letters: DeadLetters
) -> None:
    refuse(redis_client, keys, (0, 60_000), b"garbage", 5)
    assert all(letters.purge(letter) for letter in letters)
    redis_client.hset(keys.dead_purged, "other@hot", "[[0,60000,1]]")
    extract_again(redis_client, keys, 0, 60_000)
    assert allowances(redis_client, keys) == [Allowance("purged", EVERYWHERE, 5)]
    assert redis_client.hget(keys.dead_purged, "other@hot") == b"[[0,60000,1]]"


def test_of_very_many_the_oldest_become_one_range(
    redis_client: redis.Redis, keys: Keys, letters: DeadLetters
) -> None:
    for number in range(1, 211):
        refuse(redis_client, keys, (0, number * 1_000), f"m value=1 {number}\n".encode(), 1)
    assert all(letters.purge(letter) for letter in letters)
    noted = allowances(redis_client, keys)
    assert len(noted) == 200
    assert noted[0] == Allowance("purged", Range(0, 11), 11)
    assert sum(one.points for one in noted) == 210


@pytest.mark.parametrize("foreign", ["no JSON", "5", '{"a":1}', "[[1]]", '["a"]', "[[null,2,3]]"])
def test_what_somebody_else_wrote_there_explains_nothing_and_stops_nothing(
    redis_client: redis.Redis, keys: Keys, letters: DeadLetters, foreign: str
) -> None:
    redis_client.hset(keys.dead_purged, "raw@hot", foreign)
    assert allowances(redis_client, keys) == []
    for number in (5, 6):
        refuse(redis_client, keys, (0, number * 1_000), f"m value=1 {number}\n".encode(), 1)
    assert all(letters.purge(letter) for letter in letters)
    assert len(letters.counted()) == len(list(letters)) == 0
