"""When a sink was started, by what it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from pydantic import SecretStr

from common.config import InfluxSettings
from common.sink.bounded_response import RESPONSE_BYTES_MAX
from common.sink.http_session import SinkSession
from devtools.servers.influx_server import InfluxServer
from devtools.servers.ports import free_port
from services.verifier.sink.started import started, starts_of
from tests.doubles.influxdb3 import Engine3, InfluxDB3

TIME = "2026-11-30T17:59:49.402499996Z"


@pytest.mark.parametrize(
    "said",
    [
        '{"status":"ready","started":"%s","up":"1h2m3s"}',
        '{"status": "ready", "started": "%s"}',
        '{\n"system": {"currentTime":"2026-11-30T18:00:00Z","started":"%s","uptime":1},\n"cmd',
    ],
)
def test_2_and_1_say_it(said: str) -> None:
    assert started((said % TIME).encode()) == TIME


@pytest.mark.parametrize(
    "said",
    [
        *("", "OK", "null", "[]", "{}", "<html>started</html>", '{"status":"ready"}'),
        '{"started":17}',
        '{"started":"never"}',
        f'{{"memstats": {{}}, "jobs": {{"started": "{TIME}"}}}}',
        f'x{{"started":"{TIME}"}}',
    ],
)
def test_others_do_not(said: str) -> None:
    assert started(said.encode()) == ""


def test_what_is_long_ends_soon() -> None:
    assert started(b'{"system": {' + b" " * RESPONSE_BYTES_MAX) == ""


@pytest.fixture
def engine() -> Iterator[InfluxDB3]:
    with InfluxDB3(Engine3("db")) as server:
        yield server


def asked(*urls: str, token: str = "t") -> list[str]:
    settings = InfluxSettings(
        url=urls[0],
        urls=urls,
        org="o",
        bucket="b",
        token=SecretStr(token),
        timeout_seconds=5,
    )
    with closing(SinkSession(settings, connections=1)) as session:
        return list(starts_of(session))


def test_3_says_nothing_and_is_no_error(engine: InfluxDB3) -> None:
    assert asked(engine.url) == [""]


def test_each_url_is_asked_and_one_that_is_away_says_nothing(influx_server: InfluxServer) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    nothing, once = asked(away, influx_server.url)
    assert (nothing, once[:2]) == ("", "20")
    assert asked(influx_server.url, away, influx_server.direct_url) == [once, "", once]
