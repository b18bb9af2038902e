"""What was in force is written to the sink when it changes, on real InfluxDB and Redis."""

from __future__ import annotations

import gzip
import json
import time
from typing import Any

import pytest
from redis import Redis

from common.errors import SinkError
from common.state.history import changes_of
from common.state.windows import Feed
from devtools.servers.influx_server import InfluxServer
from services.loader.responses import Kind, Outcome
from services.loader.sealing.configurations import MEASUREMENT
from tests.integration.loader.test_seals import FEED, FIRST_MS, KEYS, STEP_MS, World

OLD, NEW = 'a "quoted" \\ text', '{"relabel":[{"regex":"\\\\d+"}]}'


@pytest.fixture
def world(redis_client: Redis, influx_server: InfluxServer, influx_database: str) -> World:
    return World(redis_client, influx_server, influx_database)


def take_over(world: World, *texts: str, feed: Feed = FEED) -> None:
    for text in texts:
        world.windows.plan(feed, FIRST_MS - STEP_MS, FIRST_MS, adopt=True, configuration=text)


def stored(world: World) -> list[dict[str, Any]]:
    return [
        dict(zip(series["columns"], row, strict=True))
        for series in world.influx.query(
            f'SELECT * FROM "{MEASUREMENT}"', database=world.database, epoch="ms"
        )
        for row in series["values"]
    ]


def test_each_change_says_what_was_before_and_after(world: World) -> None:
    take_over(world, OLD)
    world.commit(FIRST_MS, samples=3)  # not settled when the next comes into force
    take_over(world, NEW)
    world.keeper.turn()

    first, second = stored(world)
    times_ms = [change.at_ms for change in changes_of(world.redis, KEYS, FEED.name)]
    feed = {"pipeline": "sealing", "query": "raw", "tier": "hot"}
    assert first == {"time": times_ms[0], "before": "", "after": OLD, "unsettled": "[]", **feed}
    unsettled = json.dumps([[FIRST_MS - STEP_MS, FIRST_MS]], separators=(",", ":"))
    second_expected = {"before": OLD, "after": NEW, "unsettled": unsettled, **feed}
    assert second == {"time": times_ms[1], **second_expected}
    server_ms = int(world.redis.time()[0]) * 1000
    assert all(abs(server_ms - time_ms) < 600_000 for time_ms in times_ms)


def test_only_what_changed_is_written_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    take_over(world, OLD, NEW)
    posts: list[bytes] = []
    write = world.keeper.sink.write

    def counted(bucket: str, body: bytes) -> Outcome:
        posts.append(body)
        return write(bucket, body)

    monkeypatch.setattr(world.keeper.sink, "write", counted)
    world.keeper.turn()
    world.keeper.turn()
    assert len(posts) == 1
    take_over(world, OLD)
    world.keeper.turn()
    assert (len(posts), len(stored(world))) == (2, 3)


def test_what_was_not_written_is_tried_again_and_holds_no_seal(world: World) -> None:
    take_over(world, OLD)
    world.commit(FIRST_MS)
    world.influx.query(f'DROP MEASUREMENT "{MEASUREMENT}"', database=world.database)
    # Of this moment, as the record is: InfluxDB 1.x compares types within a shard, which is a week.
    foreign = f"{MEASUREMENT} before=1 {int(time.time() * 1000)}\n"
    outcome = world.keeper.sink.write(world.database, gzip.compress(foreign.encode()))
    assert outcome.kind is Kind.WRITTEN
    with pytest.raises(SinkError, match=r"came into force were not written: .*field type conflict"):
        world.keeper.turn()
    assert world.due() == 0
    world.influx.query(f'DROP MEASUREMENT "{MEASUREMENT}"', database=world.database)
    world.keeper.turn()
    assert [one["after"] for one in stored(world)] == [OLD]


def test_what_an_older_version_noted_has_no_time_and_is_only_what_was_before(world: World) -> None:
    take_over(world, OLD)
    changes = json.loads(world.redis.hget(KEYS.history(FEED.name), "changes") or "")
    del changes[0]["at"]
    world.redis.hset(KEYS.history(FEED.name), "changes", json.dumps(changes))
    take_over(world, NEW)
    world.keeper.turn()
    assert [(one["before"], one["after"]) for one in stored(world)] == [(OLD, NEW)]


def test_what_the_sink_keeps_no_more_stops_nothing(
    redis_client: Redis, influx_server: InfluxServer, influx_database: str
) -> None:
    database = f"{influx_database}_day"
    influx_server.create_database(database, retention_seconds=86_400)
    world = World(redis_client, influx_server, database)
    take_over(world, OLD, NEW, "newest")
    changes = json.loads(redis_client.hget(KEYS.history(FEED.name), "changes") or "")
    for change in changes[:2]:
        change["at"] -= 30 * 86_400_000
    redis_client.hset(KEYS.history(FEED.name), "changes", json.dumps(changes))
    world.keeper.turn()
    assert [(one["before"], one["after"]) for one in stored(world)] == [(NEW, "newest")]


def test_a_text_too_long_for_a_string_is_left_out(world: World) -> None:
    take_over(world, "x" * 70_000, NEW)
    world.keeper.turn()
    assert [(one["before"], one["after"]) for one in stored(world)] == [("", ""), ("", NEW)]
