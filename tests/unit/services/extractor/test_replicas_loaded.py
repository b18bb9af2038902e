"""Samples of two replicas never meet in a window, nor beside what is loaded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from common.errors import QueryTooLarge, SourceUnavailable
from services.extractor.one_source import OneSource
from services.extractor.replicas import AWAY_SECONDS
from tests.unit.services.extractor.replicas_world import RATE, RAW, URLS, Server, World


def test_what_is_whole_in_none_is_split_and_what_cannot_be_is_read_from_the_fullest() -> None:
    first, second = servers = Server(3), Server(4)
    world = World(*servers)
    assert world.read_whole() == 1, "it scraped all the time"
    second.scrapes = 0
    for _ in range(2):
        with pytest.raises(QueryTooLarge, match="is whole in no replica"):
            world.read_whole()
    assert world.read() == 1
    first.samples = 0
    assert world.read_whole() == 1, "the other has nothing"


def test_a_recount_is_never_refused() -> None:
    """Nobody would split what it asks for."""
    servers = Server(3), Server(4)
    world = World(*servers)
    servers[0].was_down = servers[1].was_down = True
    with pytest.raises(QueryTooLarge, match="is whole in no replica"):
        world.read_whole(RATE)
    assert not list(world.replicas.read_again(RATE, 60_000, 120_000))
    assert world.replicas.count_in(RAW, 60_000, 120_000) == 4


def test_what_nobody_scraped_is_not_split() -> None:
    """Blocks that were brought in, as of another system's history, hold no scrapes."""
    first, second = servers = Server(4), Server(4)
    world = World(*servers)
    first.scrapes = second.scrapes = 0
    assert world.read_whole() == 0
    second.scrapes = 1
    with pytest.raises(QueryTooLarge, match="is whole in no replica"):
        world.read_whole()


def test_what_is_loaded_is_read_and_counted_again_from_the_same_alone() -> None:
    """Whatever the other has: its samples would stand beside them."""
    first = Server(2)
    world = World(first, Server(4))
    world.loaded = [(60_000, 120_000, URLS[0]), (120_000, 180_000, URLS[1])]
    assert world.read() == 0
    assert world.read(RAW, 120_000, 180_000) == 1
    assert world.replicas.count_in(RAW, 60_000, 240_000) == 2 + 4 + 4
    assert world.read(RATE, 60_000, 120_000) == 0, "of an expression nothing stands beside"

    first.error = SourceUnavailable("is away")
    assert world.read(RAW, 180_000, 240_000) == 1
    with pytest.raises(SourceUnavailable, match="what it gave is loaded"):
        world.read()
    with pytest.raises(SourceUnavailable, match="what it gave is loaded"):
        world.replicas.count_in(RAW, 60_000, 120_000)
    assert world.read(RAW, 120_000, 180_000) == 1

    world.now_seconds += AWAY_SECONDS + 1
    first.error, first.lowest_ms = None, 100_000
    world.replicas.lowest_timestamp_ms()
    assert world.read() == 1, "the first does not have it any more"


def test_an_expression_is_compared_with_what_it_was_read_from() -> None:
    """Others scrape at times of their own: of all that is compared at once, one would differ."""
    first, second = Server(4), Server(4)
    world = World(first, second)
    world.loaded = [(60_000, 120_000, URLS[0]), (120_000, 180_000, URLS[1])]
    world.tier = "warm"
    second.scrapes = 2  # as after a time in which the first was away
    stand_in: Any = SimpleNamespace(_client=world.replicas)
    plan: Any = SimpleNamespace(query=RATE, feed=SimpleNamespace(tier="warm"))

    def reads(server: Server) -> list[tuple[Any, ...]]:
        return [one[1:] for one in server.asked if one[0] == "read"]

    assert not list(OneSource._read_again(stand_in, plan, 60_000, 240_000))
    assert reads(first) == [(60_000, 120_000)]
    assert reads(second) == [(120_000, 180_000), (180_000, 240_000)], "the rest as ever"

    first.error = SourceUnavailable("is away")
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match="away"):
            list(OneSource._read_again(stand_in, plan, 60_000, 240_000))
    assert len(reads(first)) == 2, "it is left alone for a while"


def test_what_was_read_from_several_and_cannot_be_split_is_read_from_the_last() -> None:
    """Of a rollup the buckets in which a replica went and came back."""
    world = World(Server(4), Server(4))
    world.loaded = [(0, 90_000, URLS[0]), (90_000, 150_000, URLS[1]), (150_000, 240_000, URLS[0])]
    buckets = (60_000, 120_000), (120_000, 180_000)
    assert [world.read(RAW, *bucket) for bucket in buckets] == [1, 0]


def test_what_is_loaded_in_part_is_read_from_that_one_if_it_has_the_rest() -> None:
    """A rollup is read with what lies before it, and may be read before hot is."""
    first, second = Server(4), Server(8)
    world = World(first, second)
    world.loaded = [(0, 60_000, URLS[0])]
    assert [world.read_whole(RAW, 0, 120_000), world.read(RAW, 0, 120_000)] == [0, 0]
    first.was_down = True
    with pytest.raises(QueryTooLarge, match="loaded in part of a replica"):
        world.read_whole(RAW, 0, 120_000)
    assert world.read(RAW, 0, 120_000) == 1, "a bucket, which cannot be split"
    assert world.read(RAW, 0, 60_000) == 0, "all of it is loaded"
    first.was_down, first.error = False, SourceUnavailable("is away")
    assert world.read(RAW, 120_000, 180_000) == 1
    with pytest.raises(QueryTooLarge, match="loaded in part of a replica"):
        world.read_whole(RAW, 0, 120_000)
    assert world.read(RAW, 0, 120_000) == 1


def test_each_tier_is_counted_where_it_was_read_from() -> None:
    """A bucket of a rollup is of one replica, where its samples in the hot tier are of two."""
    world = World(Server(2), Server(5))
    world.tier, world.loaded = "warm", [(60_000, 120_000, URLS[0])]
    stand_in: Any = SimpleNamespace(_client=world.replicas)
    plan: Any = SimpleNamespace(query=RAW, feed=SimpleNamespace(tier="warm"))

    assert OneSource._count_again(stand_in, plan, 60_000, 120_000) == 2
    assert world.replicas.count_in(RAW, 60_000, 120_000) == 5


def test_what_was_read_from_several_is_split_each_time() -> None:
    """Samples of two replicas must not meet, whenever it is extracted again."""
    world = World(Server(4), Server(4))
    world.loaded = [(0, 60_000, URLS[0]), (60_000, 120_000, URLS[1])]
    for _ in range(2):
        with pytest.raises(QueryTooLarge, match="several replicas"):
            world.read_whole(RAW, 0, 120_000)
        halves = (0, 60_000), (60_000, 120_000)
        assert [world.read_whole(RAW, *half) for half in halves] == [0, 1]


@pytest.mark.parametrize(
    ("lowest_ms", "url", "gone"),
    [(0, URLS[0], False), (100_000, URLS[0], True), (0, "http://renamed:1", True)],
)
def test_what_was_read_from_a_replica_that_lacks_it_by_now_is_gone(
    lowest_ms: int, url: str, *, gone: bool
) -> None:
    world = World(Server(4, lowest_ms), Server(4))
    world.replicas.lowest_timestamp_ms()
    world.loaded = [(60_000, 120_000, url), (120_000, 180_000, URLS[1])]
    stand_in: Any = SimpleNamespace(_client=world.replicas)
    plan: Any = SimpleNamespace(query=RAW, feed=SimpleNamespace(tier="hot"))

    assert OneSource._is_gone(stand_in, plan, 60_000, 180_000) == gone
    assert not OneSource._is_gone(stand_in, plan, 120_000, 240_000)


@pytest.mark.parametrize(("tier", "gone"), [("hot", True), ("warm", False)])
def test_of_one_server_too_what_was_read_from_another_is_gone(tier: str, *, gone: bool) -> None:
    """As where one of two replicas is all that is left."""
    loaded = {"raw@hot": [(60_000, 120_000, URLS[1]), (120_000, 180_000, URLS[0])]}
    stand_in: Any = SimpleNamespace(
        _client=Server(4),
        _settings=SimpleNamespace(extract=SimpleNamespace(prometheus_url=URLS[0])),
        _record=SimpleNamespace(of=lambda feed: loaded.get(feed, [])),
    )
    plan: Any = SimpleNamespace(query=RAW, feed=SimpleNamespace(tier=tier, name=f"raw@{tier}"))

    assert OneSource._is_gone(stand_in, plan, 60_000, 180_000) == gone
    assert not OneSource._is_gone(stand_in, plan, 120_000, 240_000)
