"""``etlctl verify`` against a real Prometheus and a real influxd."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from common.state.keys import Keys
from common.state.windows import Feed, WindowSet
from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.redis_server import RedisServer
from tests.integration.etlctl.verify_world import EXPR, SELECT, World, bits, open_metrics

Capture = pytest.CaptureFixture[str]

# Finite and not: what the three metrics of the job hold, see verify_world.history.
SOURCE = 3 * 240 + 120
EXPECTED = SOURCE - 72


@pytest.fixture(scope="module")
def start_ms() -> int:
    """Old enough to be backfilled."""
    return (int(time.time()) // 3_600 - 6) * 3_600_000


@pytest.fixture(scope="module")
def prometheus(
    toolbox: Toolbox, server_dir: Path, log_dir: Path, start_ms: int
) -> Iterator[PrometheusServer]:
    """A Prometheus that scrapes nothing and holds the history."""
    server = PrometheusServer(
        toolbox, server_dir / "prometheus-history", name="prometheus-history", log_dir=log_dir
    )
    server.backfill(open_metrics(start_ms))
    with server:
        yield server


@pytest.fixture
def world(
    prometheus: PrometheusServer,
    influx_server: InfluxServer,
    influx_database: str,
    redis_server: RedisServer,
    redis_namespace: str,
    tmp_path: Path,
    start_ms: int,
) -> World:
    return World(
        prometheus,
        influx_server,
        redis_server,
        influx_database,
        redis_namespace,
        tmp_path,
        start_ms,
    )


def figures(query: dict[str, Any]) -> dict[str, Any]:
    return {
        name: query[name]
        for name in ("expected", "found", "equal", "missing", "extra", "different", "unexplained")
        if query[name]
    }


def test_equal_sides(world: World, capsys: Capture) -> None:
    world.write(world.expected())
    result = world.verify(capsys, "--json")
    query = result.query()
    assert result.code == 0, result.err
    assert result.document["equal"] is True
    assert query["source"] == SOURCE
    assert query["dropped"] == {"nan": 24, "inf": 48}
    assert figures(query) == {"expected": EXPECTED, "found": EXPECTED, "equal": EXPECTED}


def test_the_table_says_equal(world: World, capsys: Capture) -> None:
    world.write(world.expected())
    result = world.verify(capsys)
    assert result.code == 0
    assert "Source and sink are equal." in result.out
    assert "raw" in result.out


def test_a_point_that_was_deleted_is_missing(world: World, capsys: Capture) -> None:
    world.write(world.expected())
    time_ms = world.start_ms + 15_000
    world.delete("load", {"host": "a", "job": "app"}, time_ms)
    result = world.verify(capsys, "--json")
    query = result.query()
    assert result.code == 1
    assert figures(query) == {
        "expected": EXPECTED,
        "found": EXPECTED - 1,
        "equal": EXPECTED - 1,
        "missing": 1,
        "unexplained": 1,
    }
    (example,) = query["examples"]
    assert example["kind"] == "missing"
    assert example["measurement"] == "load"
    assert example["tags"] == {"host": "a", "job": "app"}
    assert example["timestamp_ms"] == time_ms
    assert example["found"] is None


def test_a_value_one_bit_away_is_different(world: World, capsys: Capture) -> None:
    points = world.expected()
    series, time_ms, value = points[3]
    near = 3.0000000000000004 if value == 3.0 else value * (1 + 2**-52)
    assert near != value
    world.write([*points, (series, time_ms, near)])
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert figures(result.query()) == {
        "expected": EXPECTED,
        "found": EXPECTED,
        "equal": EXPECTED - 1,
        "different": 1,
        "unexplained": 1,
    }
    (example,) = result.query()["examples"]
    assert (example["expected"], example["found"]) == (value, near)


def test_zero_in_place_of_minus_zero_is_different(world: World, capsys: Capture) -> None:
    points = world.expected()
    minus = [point for point in points if bits(point[2]) == bits(-0.0)]
    series, time_ms, _ = minus[0]
    world.write([*points, (series, time_ms, 0.0)])
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert result.query()["different"] == 1
    assert "expected -0.0, found 0.0" in world.verify(capsys).out


def test_a_point_too_many_in_a_known_series_is_extra(world: World, capsys: Capture) -> None:
    points = world.expected()
    world.write([*points, (points[0][0], world.start_ms + 15_001, 1.0)])
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert figures(result.query()) == {
        "expected": EXPECTED,
        "found": EXPECTED + 1,
        "equal": EXPECTED,
        "extra": 1,
        "unexplained": 1,
    }


@pytest.mark.parametrize(
    ("series", "extra", "foreign"),
    [
        (("load", (("host", "ghost"), ("job", "app"))), 1, 0),
        (("load", (("host", "a"), ("job", "other"))), 0, 1),
        (("strange", (("job", "app"),)), 0, 0),
    ],
    ids=["ours", "another job's", "a metric that Prometheus never had"],
)
def test_a_series_too_many_counts_if_it_can_only_be_ours(
    world: World,
    capsys: Capture,
    series: tuple[str, tuple[tuple[str, str], ...]],
    extra: int,
    foreign: int,
) -> None:
    world.write([*world.expected(), (series, world.start_ms + 15_000, 1.0)])
    result = world.verify(capsys, "--json")
    assert (result.query()["extra"], result.document["foreign"]) == (extra, foreign)
    assert result.code == (1 if extra else 0)


def test_another_tag_set_is_missing_and_extra(world: World, capsys: Capture) -> None:
    points = world.expected()
    (name, tags), time_ms, value = points[0]
    world.write([((name, (*tags, ("zone", "x"))), time_ms, value), *points[1:]])
    assert figures(world.verify(capsys, "--json").query()) == {
        "expected": EXPECTED,
        "found": EXPECTED,
        "equal": EXPECTED - 1,
        "missing": 1,
        "extra": 1,
        "unexplained": 2,
    }


def test_a_value_that_is_no_number_is_different(world: World, capsys: Capture) -> None:
    world.queries = [{"name": "raw", "select": 'late{job="app"}'}]
    odd = [point for point in world.expected() if point[0][0] == "late"]
    lines = [f'late,host=a,job=app value="1" {time_ms}' for _, time_ms, _ in odd]
    world.write_raw("\n".join(lines))
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert result.query()["different"] == len(odd)
    assert result.query()["examples"][0]["found"] == "not a number"


def test_an_expression_is_compared_on_its_grid(world: World, capsys: Capture) -> None:
    world.queries = [EXPR]
    points = world.expected_by_host()
    world.write(points)
    result = world.verify(capsys, "--json")
    assert result.code == 0, result.out
    assert result.query("by_host")["expected"] == len(points) == 240
    time_ms = points[100][1]
    world.delete("by_host", {"host": "a"}, time_ms)
    world.write([(("by_host", (("who", "knows"),)), time_ms, 1.0)])
    result = world.verify(capsys, "--json")
    assert result.code == 1
    query = result.query("by_host")
    assert (query["missing"], query["extra"], query["unexplained"]) == (1, 1, 2)


def test_one_query_of_several(world: World, capsys: Capture) -> None:
    world.queries = [SELECT, EXPR]
    world.write(world.expected())
    result = world.verify(capsys, "--json", "--query", "raw")
    assert result.code == 0
    assert [one["query"] for one in result.document["queries"]] == ["raw"]
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert result.query("by_host")["missing"] == len(world.expected_by_host())


def test_the_range_is_open_at_its_start_and_closed_at_its_end(
    world: World, capsys: Capture
) -> None:
    first_ms, second_ms = world.start_ms + 15_000, world.start_ms + 30_000
    inside = [point for point in world.expected() if first_ms < point[1] <= second_ms]
    world.write(inside)
    bounds = ["--from", str(first_ms / 1_000), "--to", str(second_ms / 1_000)]
    result = world.run(capsys, "verify", *bounds, "--json")
    assert result.code == 0, result.out
    assert result.query()["expected"] == len(inside) > 0


def test_the_transform_is_applied(world: World, capsys: Capture) -> None:
    world.changes = {
        "transform.valid_metrics": ["load"],
        "transform.relabel": [
            {"source_labels": ["host"], "regex": "b.*", "action": "drop"},
            {"source_labels": ["host"], "target_label": "machine", "replacement": "m-$1"},
            {"action": "labeldrop", "regex": "host"},
        ],
    }
    world.write(
        ((name, (("job", "app"), ("machine", "m-a"))), time_ms, value)
        for (name, tags), time_ms, value in world.expected()
        if name == "load" and dict(tags)["host"] == "a"
    )
    result = world.verify(capsys, "--json")
    assert result.code == 0, result.out
    query = result.query()
    assert query["expected"] == 240
    assert query["dropped"] == {"relabel_dropped": 240, "not_whitelisted": 360}


def test_series_that_relabelling_makes_one_count_as_collisions(
    world: World, capsys: Capture
) -> None:
    world.queries = [{"name": "raw", "select": 'load{job="app"}'}]
    world.changes = {"transform.relabel": [{"action": "labeldrop", "regex": "host"}]}
    result = world.verify(capsys, "--json")
    assert result.query()["dropped"] == {"collision": 240}
    assert result.query()["expected"] == 240
    # Which of the two comes last is up to Prometheus: either value will do, a third will not.
    for host in ("a", "b c,d=e"):
        world.write(
            ((name, (("job", "app"),)), time_ms, value)
            for (name, tags), time_ms, value in world.expected()
            if name == "load" and dict(tags)["host"] == host
        )
        result = world.verify(capsys, "--json")
        assert result.code == 0
        assert set(result.query()["explained"]["different"]) <= {"collision"}
        assert result.query()["found"] == 240
    world.write([(("load", (("job", "app"),)), world.start_ms + 15_000, 0.5)])
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert result.query()["unexplained"] == 1


def test_long_series_arrive_in_chunks(
    world: World, influx_server: InfluxServer, capsys: Capture
) -> None:
    from contextlib import closing

    import requests

    from etlctl.verify.points import SeriesKey
    from etlctl.verify.sink import Sink

    count = 25_000  # influxd answers 10,000 at a time
    world.write((("long", (("s", str(n)),)), t, t / 7) for n in range(2) for t in range(1, count))
    with closing(Sink(influx_server.url, world.database, requests.Session())) as sink:
        points = sink.read(["long", "none"], 1, count)
    assert set(points) == {SeriesKey.of("long", {"s": "0"}), SeriesKey.of("long", {"s": "1"})}
    for column in points.values():
        assert column.timestamps_ms.tolist() == list(range(2, count))
        assert column.values.tolist() == [t / 7 for t in range(2, count)]


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
    assert "Redis cannot be asked" in result.err
    assert world.run(capsys, "verify").code == 2  # and nobody knows the range


def test_a_database_that_does_not_exist_is_named(world: World, capsys: Capture) -> None:
    world.changes = {"load.influxdb.bucket": "nowhere"}
    result = world.verify(capsys)
    assert result.code == 3
    assert "nowhere" in result.err


def test_a_query_that_prometheus_rejects_is_told(world: World, capsys: Capture) -> None:
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
    """Book the history as extracted and settled, from its start to ``end_ms``."""
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
    assert result.code == 0
    late = len(points) - len(loaded)
    assert result.query()["missing"] == late > 0
    assert result.query()["explained"]["missing"] == {"not_extracted": late}
    assert "not extracted yet" in world.verify(capsys).out

    world.delete("load", {"host": "a", "job": "app"}, half_ms)
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert result.query()["unexplained"] == 1
    assert [one["timestamp_ms"] for one in result.query()["examples"]] == [half_ms]
