"""The loaded watermark on real InfluxDB and Redis."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis import Redis

from common.config import InfluxSettings
from common.errors import SinkError
from common.runtime.telemetry import Telemetry
from common.state.keys import Keys
from common.state.windows import Feed, WindowSet
from devtools.servers.influx_server import InfluxServer
from services.loader.influx import InfluxSink
from services.loader.watermark import (
    WatermarkKeeper,
    WatermarkReader,
    parse_watermark,
)

KEYS = Keys("wm")
FEED = Feed("raw", "hot", "select", "f")


class World:
    def __init__(self, redis: Redis, url: str, database: str) -> None:
        self.redis = redis
        self.settings = InfluxSettings(
            url=url, token=SecretStr("any"), org="o", bucket=database, timeout_seconds=5
        )
        self.windows = WindowSet(redis, KEYS)
        self.reader = WatermarkReader(self.settings)
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
    with pytest.raises(SinkError, match="database not found"):
        world.reader.read("nowhere", "raw", "hot")
    away = WatermarkReader(world.settings.model_copy(update={"url": "http://127.0.0.1:9"}))

    with pytest.raises(SinkError, match="cannot read the watermark"):
        away.read(world.database, "raw", "hot")

    assert world.windows.sink_watermarks() == {}


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
        parse_watermark(body, "http://influx/query")


def test_secrets_stay_out_of_the_errors(tmp_path: Path) -> None:
    settings = InfluxSettings(
        url="http://127.0.0.1:9", token=SecretStr("s3cret-token"), org="o", bucket="b"
    )

    with pytest.raises(SinkError) as caught:
        WatermarkReader(settings).read("b", "q", "hot")

    assert "s3cret-token" not in str(caught.value)
