"""``etlctl verify``: which time it compares, and its message when it cannot."""

from __future__ import annotations

import socket

import pytest
import redis

from common.state.keys import Keys
from common.state.windows import Feed, WindowSet
from tests.integration.etlctl.verify.world import World

Capture = pytest.CaptureFixture[str]


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("change", "who"),
    [
        ("extract.prometheus_url", "Prometheus"),
        ("load.influxdb.url", "InfluxDB"),
    ],
)
def test_a_server_that_is_away_is_named(
    world: World, capsys: Capture, change: str, who: str
) -> None:
    world.changes = {change: f"http://127.0.0.1:{closed_port()}"}
    result = world.verify(capsys)
    assert result.code == 3
    assert f"{who} at http://127.0.0.1" in result.err
    assert "Traceback" not in result.err
    assert result.out == ""


def test_redis_away_is_a_note_where_it_is_not_needed(world: World, capsys: Capture) -> None:
    world.changes = {"pipeline.redis_url": f"redis://127.0.0.1:{closed_port()}/0"}
    world.write(world.expected())
    result = world.verify(capsys)
    assert result.code == 0
    assert "Redis cannot be read" in result.err
    assert world.run(capsys, "verify").code == 2  # and nobody knows the range


def test_a_database_that_does_not_exist_is_named(world: World, capsys: Capture) -> None:
    world.changes = {"load.influxdb.bucket": "nowhere"}
    result = world.verify(capsys)
    assert result.code == 3
    assert "nowhere" in result.err


def test_a_query_that_prometheus_rejects_is_reported(world: World, capsys: Capture) -> None:
    world.queries = [{"name": "broken", "expr": "load[5m]", "step": "30s"}]
    result = world.verify(capsys)
    assert result.code == 3
    assert "rejects the query" in result.err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--from", "yesterday"], "--from: 'yesterday' is not a time"),
        (["--to", "2024-05-01"], "--to: '2024-05-01' names no time zone"),
        (["--from", "now", "--to", "-1h"], "nothing lies between"),
        (["--query", "nope"], "no such query"),
        (["--accept", "explained,equal"], "--accept: 'equal' cannot be accepted; possible are"),
        ([], "--from must be given"),
        (["--from", "-1h"], "--to must be given"),
    ],
)
def test_bad_arguments_are_one_line(
    world: World, capsys: Capture, options: list[str], complaint: str
) -> None:
    result = world.run(capsys, "verify", *options)
    assert result.code == 2
    assert complaint in result.err
    assert len(result.err.strip().splitlines()) == 1


def commit_up_to(world: World, client: redis.Redis, end_ms: int) -> None:
    """Record the history as extracted and settled, from its start to ``end_ms``."""
    windows = WindowSet(client, Keys(world.namespace))
    feed = Feed("raw", "hot", "select", "any")
    windows.plan(feed, world.start_ms, end_ms)
    window = windows.lease(feed, "live", 10**12, 10**12)
    assert window is not None
    assert windows.commit(feed, window, []) == "committed"


def test_without_a_range_it_compares_what_was_loaded(
    world: World, redis_client: redis.Redis, capsys: Capture
) -> None:
    half_ms = world.start_ms + 1_800_000
    commit_up_to(world, redis_client, half_ms)
    loaded = [point for point in world.expected() if point[1] <= half_ms]
    world.write(loaded)
    result = world.run(capsys, "verify", "--json")
    assert result.code == 0, result.out
    assert result.document["from_ms"] == world.start_ms
    assert result.document["to_ms"] == half_ms
    assert result.query()["expected"] == len(loaded)


def test_what_redis_knows_to_be_pending_may_be_missing(
    world: World, redis_client: redis.Redis, capsys: Capture
) -> None:
    half_ms = world.start_ms + 1_800_000
    commit_up_to(world, redis_client, half_ms)
    points = world.expected()
    loaded = [point for point in points if point[1] <= half_ms]
    world.write(loaded)
    result = world.verify(capsys, "--json")
    assert (result.code, result.document["verdict"]) == (7, "incomplete")
    assert world.verify(capsys, "--accept", "incomplete").code == 0
    late = len(points) - len(loaded)
    assert result.query()["missing"] == late > 0
    assert result.query()["explained"]["missing"] == {"not_extracted": late}
    assert "not extracted yet" in world.verify(capsys).out

    world.delete("load", {"host": "a", "job": "app"}, half_ms)
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert result.query()["unexplained"] == 1
    assert [one["timestamp_ms"] for one in result.query()["examples"]] == [half_ms]
