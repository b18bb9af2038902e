"""Whether a token may read is told from an empty bucket, on a real influxd and on stand-ins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

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
from services.loader.read_check import ReadCheck
from services.loader.watermark import WatermarkKeeper, WatermarkReader
from tests.doubles.influx_engine import ORG, TOKEN, Engine
from tests.doubles.influxdb2 import InfluxDB2
from tests.doubles.influxdb3 import Engine3, InfluxDB3

BUCKET = "hot"
FEED = Feed("raw", "hot", "select", "f")


class Time:
    """Both clocks of a check; pauses pass at once."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def check_of(settings: InfluxSettings, time: Time) -> ReadCheck:
    reader, sink = WatermarkReader(settings, "etl"), InfluxSink(settings, connections=1)
    return ReadCheck(reader, sink, (BUCKET,), time.pass_, time, time)


def settings_of(url: str, **changed: Any) -> InfluxSettings:
    known = {"token": SecretStr(TOKEN), "org": ORG, "bucket": BUCKET, "timeout_seconds": 5}
    return InfluxSettings(url=url, **(known | changed))


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def two(time: Time) -> Iterator[InfluxDB2]:
    with InfluxDB2(Engine(BUCKET, clock=time)) as server:
        yield server


@pytest.fixture(params=["influxd", "influxdb2", "influxdb3"])
def url(request: pytest.FixtureRequest, time: Time) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "influxd":
            make: Callable[..., InfluxServer] = request.getfixturevalue("make_influx")
            yield make(databases=(BUCKET,), token=TOKEN).url
        elif request.param == "influxdb2":
            yield stack.enter_context(InfluxDB2(Engine(BUCKET, clock=time))).url
        else:
            yield stack.enter_context(InfluxDB3(Engine3(BUCKET, clock=time))).url


def test_what_is_written_is_read_back(url: str, time: Time) -> None:
    check = check_of(settings_of(url), time)
    check()
    time.pass_(7200)
    check()


def test_a_token_that_may_not_read_is_told_from_an_empty_bucket(two: InfluxDB2, time: Time) -> None:
    check = check_of(settings_of(two.url), time)
    check()
    two.engine.may_read = False
    with pytest.raises(SinkError, match="the token may not read it, or there is no database"):
        check()
    written = len(two.requests)
    with pytest.raises(SinkError, match="may not read"):
        check()
    assert len(two.requests) == written  # it is not written with every look

    two.engine.may_read = True

    check()


@pytest.mark.parametrize("fault", ["token", "bucket", "write"])
def test_what_is_refused_is_said(two: InfluxDB2, time: Time, fault: str) -> None:
    if fault == "token":
        two.engine.active = False
    elif fault == "bucket":
        two.engine.buckets.clear()
    else:
        two.engine.may_write = False
    with pytest.raises(SinkError, match={"token": "401", "bucket": "not found"}.get(fault, "perm")):
        check_of(settings_of(two.url), time)()


def test_no_watermark_is_believed_to_be_missing_where_nothing_can_be_read(
    two: InfluxDB2, time: Time, redis_client: Redis
) -> None:
    """Before: Redis lost everything, and the watermark that lay in the sink was written over."""
    settings = settings_of(two.url)
    windows = WindowSet(redis_client, Keys("etl"))
    check = check_of(settings, time)
    keeper = WatermarkKeeper(
        windows,
        check.reader,
        check.sink,
        {"hot": BUCKET},
        Telemetry("loader", CollectorRegistry()),
        threading.Event(),
        every_seconds=1,
        wall_clock=time,
        prove_readable=check.prove,
    )
    windows.plan(FEED, 0, 100_000)
    two.engine.may_read = False
    with pytest.raises(SinkError, match="may not read"):
        keeper.turn()
    assert windows.sink_watermarks() == {}

    two.engine.may_read = True
    keeper.turn()

    assert windows.sink_watermarks() == {"raw@hot": None}
