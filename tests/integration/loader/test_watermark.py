"""The loaded watermark on real InfluxDB and Redis."""

from __future__ import annotations

import gzip
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis import Redis

from common.config import InfluxSettings
from common.errors import SinkError
from common.runtime.telemetry import Telemetry
from common.sink.select import Select
from common.state.keys import Keys
from common.state.windows import Feed, WindowSet
from devtools.servers.influx_server import InfluxServer
from services.loader.buckets.shared import ACTIVE_SECONDS, SharedBuckets, run_id
from services.loader.influx import InfluxSink
from services.loader.responses import Kind, Outcome
from services.loader.watermark import (
    MEASUREMENT,
    WatermarkKeeper,
    WatermarkReader,
    parse_watermark,
    series_of,
)
from tests.support.captured_log import CapturedLog

KEYS = Keys("wm")
FEED = Feed("raw", "hot", "select", "f")


class World:
    def __init__(self, redis: Redis, url: str, database: str) -> None:
        self.redis = redis
        self.settings = InfluxSettings(
            url=url, token=SecretStr("any"), org="o", bucket=database, timeout_seconds=5
        )
        self.windows = WindowSet(redis, KEYS)
        self.reader = WatermarkReader(self.settings, KEYS.namespace)
        self.sink = InfluxSink(self.settings, connections=1)
        self.now = 1_700_000_000.0
        self.keeper = WatermarkKeeper(
            self.windows,
            self.reader,
            self.sink,
            {"hot": database},
            Telemetry("loader", CollectorRegistry()),
            threading.Event(),
            every_seconds=0.01,
            wall_clock=lambda: self.now,
        )
        self.database = database

    def load_up_to(self, head_ms: int) -> None:
        self.windows.plan(FEED, 0, head_ms)
        self.windows.set_reconciled(FEED)
        while window := self.windows.lease(FEED, "live", 10**13, 10**13):
            self.windows.commit(FEED, window, [])

    def known(self) -> int | None:
        return self.reader.read(self.database, "raw", "hot")

    def turn(self) -> None:
        self.now += 10
        self.keeper.turn()


@pytest.fixture
def world(redis_client: Redis, influx_server: InfluxServer, influx_database: str) -> World:
    return World(redis_client, influx_server.url, influx_database)


def test_the_watermark_goes_to_the_sink_and_follows(world: World) -> None:
    assert world.known() is None
    world.load_up_to(1_700_000_000_123)
    world.turn()
    assert world.known() == 1_700_000_000_123

    world.load_up_to(1_700_000_060_456)
    world.turn()

    assert world.known() == 1_700_000_060_456


def test_a_watermark_that_goes_back_is_believed(world: World) -> None:
    world.load_up_to(100_000)
    world.turn()
    world.windows.reopen(FEED, 20_000, 30_000)

    world.turn()

    assert world.known() == 20_000


def test_an_empty_redis_gets_the_watermark_which_is_not_replaced_before_it_counts(
    world: World,
) -> None:
    world.load_up_to(100_000)
    world.turn()
    world.redis.flushall()
    world.windows.plan(FEED, 500_000, 600_000)  # begun anew, much later

    world.turn()

    assert world.windows.sink_watermarks() == {"raw@hot": 100_000}
    assert world.known() == 100_000
    world.windows.reopen(FEED, 100_000, 500_000, extend=True)
    world.windows.set_reconciled(FEED)
    world.turn()
    assert world.known() == 100_000
    assert world.windows.status()["raw@hot"].loaded_watermark_ms == 100_000


def test_a_sink_that_is_away_or_knows_no_bucket_says_nothing(
    world: World, influx_server: InfluxServer
) -> None:
    world.load_up_to(100_000)
    with pytest.raises(SinkError, match=r"database not found: .* or the token may not read it"):
        world.reader.read("nowhere", "raw", "hot")
    away = WatermarkReader(
        world.settings.model_copy(update={"url": "http://127.0.0.1:9"}), KEYS.namespace
    )

    with pytest.raises(SinkError, match="cannot read the watermark"):
        away.read(world.database, "raw", "hot")

    assert world.windows.sink_watermarks() == {}


@pytest.mark.parametrize("error", [SinkError("away"), ValueError("odd")])
def test_a_turn_that_fails_is_told_and_the_next_one_made(world: World, error: Exception) -> None:
    log = CapturedLog()
    world.keeper.telemetry = Telemetry("loader", CollectorRegistry(), logger=log)
    world.load_up_to(60_000)

    def after_turn() -> None:
        if not log.lines:
            raise error
        world.keeper.stop.set()

    world.keeper.after_turn = after_turn
    world.keeper.run()

    (line,) = log.lines
    assert line["event"] == "watermark_failed"
    assert str(error) in line["error"]


def test_a_redis_keeps_its_name_until_it_loses_everything(world: World) -> None:
    first = run_id(world.redis, KEYS)
    assert first
    assert run_id(world.redis, KEYS) == first

    world.redis.flushall()

    assert run_id(world.redis, KEYS) not in (first, "")


def test_anothers_watermark_is_never_ours(world: World) -> None:
    world.load_up_to(100_000)
    world.turn()
    world.reader.pipeline = "other"  # has lost its Redis, and shares the bucket

    assert world.known() is None


def test_a_watermark_of_an_older_version_counts_until_there_is_a_named_one(world: World) -> None:
    old = f"{MEASUREMENT},query=raw,tier=hot value=70000.0 {int(world.now * 1000)}\n"
    world.sink.write(world.database, gzip.compress(old.encode()))
    assert world.known() == 70_000

    world.load_up_to(100_000)
    world.turn()

    assert world.known() == 100_000


class Neighbours:
    """Two pipelines on one bucket, each with a Redis namespace and what it reads."""

    def __init__(self, world: World, ours: dict[str, str]) -> None:
        self.world = world
        self.log = CapturedLog()
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry("loader", self.registry, logger=self.log)
        self.shared = SharedBuckets(
            world.reader,
            [world.database],
            ours,
            self.telemetry,
            run_id=lambda: "r1",
            clock=iter(range(0, 10**9, 10_000)).__next__,
            wall_clock=lambda: world.now,
        )

    def write(self, pipeline: str, query: str, reads: str, run: str, shard: str = "") -> None:
        self.world.now += 1
        tags = f"pipeline={pipeline},query={query},tier=hot"
        line = f'{MEASUREMENT},{tags} value=1.0,reads="{reads}",run="{run}"'
        line += f',shard="{shard}" ' if shard else " "
        line += f"{int(self.world.now * 1000)}\n"
        outcome = self.world.sink.write(self.world.database, gzip.compress(line.encode()))
        assert outcome.kind is Kind.WRITTEN

    def found(self) -> list[tuple[str, list[str]]]:
        self.shared.check()
        return [
            (line["pipeline"], line["queries"])
            for line in self.log.lines
            if line["event"] == "bucket_shared"
        ]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"a": "up{job='x'}"}, ("b", "up{job='y'}")),
        ({"a": ""}, ("b", "")),
        ({"a": ""}, ("b", "up")),
    ],
)
def test_pipelines_whose_series_differ_may_share_a_bucket(
    world: World, ours: dict[str, str], theirs: tuple[str, str]
) -> None:
    neighbours = Neighbours(world, ours)
    neighbours.write("other", *theirs, "r2")

    assert neighbours.found() == []


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"a": "up{job='x'}", "c": "down{job='z'}"}, ("b", "{job='x'}")),
        ({"a": ""}, ("a", "")),
        ({"a": ""}, ("b", "a{job='z'}")),
        ({"a": "up"}, ("up", "")),
    ],
)
def test_pipelines_whose_series_can_be_the_same_are_reported_once(
    world: World, ours: dict[str, str], theirs: tuple[str, str]
) -> None:
    neighbours = Neighbours(world, ours)
    neighbours.write("other", *theirs, "r2")
    assert ("other", ["a"]) in neighbours.found()

    assert len(neighbours.found()) == 1
    neighbours.world.now += ACTIVE_SECONDS + 1
    neighbours.shared.check()
    assert neighbours.registry.get_sample_value("etl_sink_shared_buckets") == 0


def test_two_redis_under_one_name_are_told_from_one_that_lost_its_data(
    world: World,
) -> None:
    neighbours = Neighbours(world, {"a": "up"})
    for run in ("r0", "r0", "r1", "r1"):
        neighbours.write("wm", "a", "up", run)
    assert neighbours.found() == []

    neighbours.write("wm", "a", "up", "r0")

    assert neighbours.found() == [("wm", ["a"])]


def test_shards_share_a_name_and_a_bucket_but_not_a_number(world: World) -> None:
    neighbours = Neighbours(world, {"a": "up"})
    neighbours.shared.shard = "1/2"
    for run, query, shard in (("r1", "a", "1/2"), ("r2", "b", "2/2"), ("r1", "a", "1/2")):
        neighbours.write("wm", query, "up", run, shard)
    neighbours.write("wm", "b", "up", "r2", "2/2")
    assert neighbours.found() == []

    neighbours.write("wm", "a", "up", "r3", "1/2")

    assert neighbours.found() == [("wm", ["a"])]


def test_shards_that_became_one_are_not_another_pipeline(world: World) -> None:
    neighbours = Neighbours(world, {"a": "up", "b": "down"})
    for run, query, shard in (("r1", "a", "1/2"), ("r2", "b", "2/2"), ("r1", "a", "")):
        neighbours.write("wm", query, "up", run, shard)
    assert neighbours.found() == []

    neighbours.write("wm", "b", "down", "r2", "2/2")  # has not been stopped

    assert neighbours.found() == [("wm", ["a", "b"])]


def test_a_shard_says_which_one_it_is_and_takes_over_what_another_had(world: World) -> None:
    world.load_up_to(60_000)
    world.turn()
    world.keeper.shard = "2/2"
    world.load_up_to(120_000)
    world.turn()

    rows = world.reader.query(world.database, Select(("value", "shard"), MEASUREMENT))
    (series,) = series_of(rows, world.database)
    assert [row[2] for row in series["values"]] == [None, "2/2"]
    watermark_ms = world.reader.read(world.database, FEED.query, FEED.tier)
    assert watermark_ms == series["values"][-1][1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"results": []}',
        b'{"results": [5]}',
        b'{"results": [{"series": [{"values": [[0, "x"]]}]}]}',
        b'{"results": [{"series": [{"values": [[0, -5]]}]}]}',
        b'{"results": [{"series": [{"values": [[0, 1e300]]}]}]}',
        b'{"results": [{"error": "authorization failed"}]}',
        b"\xff\xfe",
        b'{"results": ["x"]}',
        b'{"results": [["a"]]}',
        b"[" * 100_000,
        b'{"results": [{"series": [{"values": [[0, ' + b"9" * 400 + b"]]}]}]}",
    ],
)
def test_a_response_that_says_nothing_is_no_watermark(body: bytes) -> None:
    with pytest.raises(SinkError):
        parse_watermark(body, "http://influx/query", "wm")


def test_secrets_stay_out_of_the_errors(tmp_path: Path) -> None:
    settings = InfluxSettings(
        url="http://127.0.0.1:9", token=SecretStr("s3cret-token"), org="o", bucket="b"
    )

    with pytest.raises(SinkError) as caught:
        WatermarkReader(settings, "wm").read("b", "q", "hot")

    assert "s3cret-token" not in str(caught.value)


def test_a_bucket_that_takes_nothing_keeps_no_other_tier_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = Feed("raw", "cold", "select", "f")
    write, read = world.sink.write, world.reader.read
    refused: list[str] = []

    def judge(bucket: str, body: bytes) -> Outcome:
        if bucket == "refused":
            refused.append("write")
            return Outcome(Kind.REFUSED, "unauthorized access", "refused", 401)
        return write(bucket, body)

    def judge_read(bucket: str, query: str, tier: str) -> int | None:
        if bucket == "refused" and "write" not in refused:
            refused.append("read")
            raise SinkError("unauthorized access")
        return read(world.database, query, tier)

    monkeypatch.setattr(world.sink, "write", judge)
    monkeypatch.setattr(world.reader, "read", judge_read)
    world.keeper.buckets = {"cold": "refused", "hot": world.database}
    for feed in (cold, FEED):
        world.windows.plan(feed, 0, 60_000)
        world.windows.set_reconciled(feed)
    world.load_up_to(60_000)

    with pytest.raises(SinkError, match="unauthorized access"):
        world.turn()

    assert world.known() == 60_000
    assert world.windows.sink_watermarks() == {"raw@hot": None}
    refused.append("write")
    world.load_up_to(120_000)
    with pytest.raises(SinkError, match="unauthorized access"):
        world.turn()
    assert world.known() == 120_000
    assert set(world.windows.sink_watermarks()) == {"raw@cold", "raw@hot"}


def test_what_is_shared_of_a_bucket_is_seen_though_another_cannot_be_read(world: World) -> None:
    neighbours = Neighbours(world, {"a": "up"})
    neighbours.shared.buckets = ["nowhere", world.database]
    neighbours.write("other", "up", "", "r2")
    with pytest.raises(SinkError, match="database not found"):
        neighbours.shared.check()
    assert neighbours.log.events == ["bucket_shared"]
    assert neighbours.registry.get_sample_value("etl_sink_shared_buckets") == 1
