"""``etlctl verify`` reaches InfluxDB as the loader does, and knows how long it keeps points."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from common.config import load_settings
from devtools.servers.influx_server import InfluxServer
from services.loader.watermark import MEASUREMENT, WatermarkReader
from tests.doubles.influxdb3 import Engine3, InfluxDB3
from tests.integration.etlctl.verify.test_ranges_and_refusals import closed_port
from tests.integration.etlctl.verify.world import World, line
from tests.support.mutual_tls import MutualTls
from tests.support.relays import forward_proxy, tls_front

Capture = pytest.CaptureFixture[str]

HOST = "sink.invalid"  # nobody but the proxy can resolve it
DATABASE = "hot"


def changed(**influxdb: str) -> dict[str, Any]:
    return {f"load.influxdb.{name}": value for name, value in influxdb.items()}


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def test_a_proxy_and_a_client_certificate(
    world: World, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(world.expected())
    tls = MutualTls(tmp_path / "tls", HOST)
    with (
        tls_front(port_of(world.influx.url), tls.context) as port,
        forward_proxy({HOST: port}, "me:s3cret") as proxy,
    ):
        monkeypatch.setenv("https_proxy", f"http://me:s3cret@{proxy.address}")
        world.changes = changed(url=f"https://{HOST}", **tls.settings)
        result = world.verify(capsys)
        assert (result.code, "equal" in result.out) == (0, True), result.err
        assert ("CONNECT", HOST) in proxy.seen

        world.changes = changed(url=f"https://{HOST}", ca_file=str(tls.ca_file))
        result = world.verify(capsys)
        assert result.code == 3
        assert "certificate required (load.influxdb.cert_file is not set)" in result.err

        monkeypatch.setenv("https_proxy", proxy.url)
        result = world.verify(capsys)
        assert result.code == 3
        assert f"407 Proxy Authentication Required (https_proxy: {proxy.url})" in result.err


def test_a_server_name_and_the_headers_of_a_tenant(
    world: World, capsys: Capture, tmp_path: Path, make_influx: Callable[..., InfluxServer]
) -> None:
    influx = make_influx(tenant="t-7", databases=[world.database])
    answer = requests.post(
        f"{influx.direct_url}/write",
        params={"db": world.database, "precision": "ms"},
        data="\n".join(map(line, world.expected())).encode(),
        timeout=20,
    )
    assert answer.status_code == 204, answer.text
    (tmp_path / "org").write_text("t-7\n", encoding="utf-8")
    (tmp_path / "org").chmod(0o600)
    tls = MutualTls(tmp_path / "tls", "influxdb.test")
    with tls_front(port_of(influx.url), tls.context) as port:
        known = changed(url=f"https://127.0.0.1:{port}", **tls.settings)
        tenant = {"load.influxdb.header_files": {"X-Scope-OrgID": "org"}}
        world.changes = known | changed(server_name="influxdb.test") | tenant
        result = world.verify(capsys)
        assert (result.code, "equal" in result.out) == (0, True), result.err

        world.changes = known | changed(server_name="influxdb.test")
        result = world.verify(capsys)
        assert (result.code, "no org id" in result.err) == (3, True), result.err

        world.changes = known | changed(server_name="other.test") | tenant
        result = world.verify(capsys)
        assert result.code == 3
        assert "(load.influxdb.server_name: other.test)" in result.err


def test_a_url_that_is_away_is_passed_over(world: World, capsys: Capture) -> None:
    world.write(world.expected())
    away = f"http://127.0.0.1:{closed_port()}"
    world.changes = {"load.influxdb.urls": [away, world.influx.url], "load.influxdb.url": None}
    result = world.verify(capsys)
    assert (result.code, "equal" in result.out) == (0, True), result.err


def test_the_system_s_authorities_are_those_of_the_loader(
    world: World, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(world.expected())
    tls = MutualTls(tmp_path / "tls", "127.0.0.1")
    with tls_front(port_of(world.influx.url), tls.context) as port:
        known = {name: value for name, value in tls.settings.items() if name != "ca_file"}
        world.changes = changed(url=f"https://127.0.0.1:{port}", **known)
        result = world.verify(capsys)
        assert result.code == 3
        assert "(load.influxdb.ca_file is not set)" in result.err

        monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca_file))
        assert world.verify(capsys).code == 0


def test_a_token_that_is_refused_is_named_with_its_file(
    world: World, capsys: Capture, tmp_path: Path, make_influx: Callable[..., InfluxServer]
) -> None:
    file = tmp_path / "token"
    file.write_text("wrong", encoding="utf-8")
    file.chmod(0o600)
    influx = make_influx(token="right", databases=[world.database])
    world.changes = changed(url=influx.url, token_file="token") | {"load.influxdb.token": None}
    result = world.verify(capsys)
    assert result.code == 3
    assert f"unauthorized access (load.influxdb.token_file: {file})" in result.err


def test_a_user_of_1x_reads_where_authentication_is_on(
    world: World, capsys: Capture, tmp_path: Path, make_influx: Callable[..., InfluxServer]
) -> None:
    influx = make_influx(settings={"http": {"auth-enabled": True}})
    url, admin = influx.direct_url, ("root", "r: o")

    def ask(statement: str) -> None:
        answer = requests.post(f"{url}/query", data={"q": statement}, auth=admin, timeout=20)
        assert "error" not in answer.text, answer.text

    ask("CREATE USER root WITH PASSWORD 'r: o' WITH ALL PRIVILEGES")
    ask(f'CREATE DATABASE "{world.database}"')
    ask("CREATE USER jo WITH PASSWORD 'p:ss wörd'")
    ask(f'GRANT READ ON "{world.database}" TO jo')
    mark = f"{MEASUREMENT},pipeline=etl,query=raw,tier=hot value=7000.0 {world.start_ms}"
    answer = requests.post(
        f"{url}/write",
        params={"db": world.database, "precision": "ms"},
        data="\n".join([*map(line, world.expected()), mark]).encode(),
        auth=admin,
        timeout=20,
    )
    assert answer.status_code == 204, answer.text
    (tmp_path / "password").write_text("p:ss wörd\n", encoding="utf-8")
    (tmp_path / "password").chmod(0o600)
    world.changes = {
        **changed(url=url, username="jo", password_file="password"),
        "load.influxdb.token": None,
    }

    assert world.verify(capsys).code == 0
    influxdb = load_settings(world.config()).load.influxdb
    with closing(WatermarkReader(influxdb, "etl")) as reader:
        assert reader.read(world.database, "raw", "hot") == 7000

    (tmp_path / "password").write_text("wrong", encoding="utf-8")
    result = world.verify(capsys)
    assert result.code == 3
    assert f"(load.influxdb.password_file: {tmp_path / 'password'})" in result.err


@pytest.fixture
def influxdb3(world: World) -> Iterator[InfluxDB3]:
    """InfluxDB 3 with a database that forgets the first half of the history, as it was written."""
    with InfluxDB3(Engine3(DATABASE)) as server:
        engine = server.engine
        middle_ms = (world.start_ms + world.end_ms) // 2
        engine.buckets[DATABASE].retention_seconds = time.time() - middle_ms / 1_000
        lines = "\n".join(map(line, world.expected())).encode()
        written = {"db": DATABASE, "precision": "millisecond"}
        status, _, text = engine.write(written, {"Authorization": f"Token {engine.token}"}, lines)
        assert status == 204, text
        world.changes = changed(url=server.url, token=engine.token, bucket=DATABASE)
        yield server


@pytest.mark.parametrize("redis", ["there", "away"])
def test_what_influxdb_3_forgets_without_a_word_is_beyond_its_retention(
    world: World, capsys: Capture, influxdb3: InfluxDB3, redis: str
) -> None:
    if redis == "away":
        world.changes["pipeline.redis_url"] = f"redis://127.0.0.1:{closed_port()}/0"
    kept = influxdb3.engine.buckets[DATABASE].points
    forgotten = len(world.expected()) - len(kept)
    assert 0 < forgotten < len(world.expected())

    result = world.verify(capsys, "--json")

    assert (result.code, result.document["verdict"]) == (6, "explained"), result.out
    assert result.query()["explained"]["missing"] == {"beyond_retention": forgotten}
    assert "beyond the sink's retention" in world.verify(capsys).out

    newest = max(kept, key=lambda key: key[3])
    del kept[newest]  # and nothing else is excused
    result = world.verify(capsys, "--json")
    assert result.code == 1
    assert [one["timestamp_ms"] for one in result.query()["examples"]] == [newest[3]]


def test_what_the_retention_policy_deletes_is_beyond_it_where_none_is_configured(
    world: World, capsys: Capture
) -> None:
    points = world.expected()
    middle_ms = (world.start_ms + world.end_ms) // 2
    world.write(point for point in points if point[1] > middle_ms)
    kept_seconds = int(time.time() - middle_ms / 1_000 - 60)
    world.influx.query(
        f'ALTER RETENTION POLICY autogen ON "{world.database}" DURATION {kept_seconds}s'
        " SHARD DURATION 1h"
    )

    result = world.verify(capsys, "--json")

    assert (result.code, result.document["verdict"]) == (6, "explained"), result.out
    deleted = sum(time_ms <= middle_ms for _, time_ms, _ in points)
    assert result.query()["explained"]["missing"] == {"beyond_retention": deleted}


def test_the_shorter_of_both_retentions_counts(
    world: World, capsys: Capture, influxdb3: InfluxDB3
) -> None:
    world.changes["load.tiers"] = {"hot": {"bucket": DATABASE, "retention": "30d"}}
    assert world.verify(capsys).code == 6
    assert world.verify(capsys, "--accept", "explained").code == 0


def test_an_influxdb_3_that_does_not_tell_its_retention_is_a_note(
    world: World, capsys: Capture, influxdb3: InfluxDB3, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = "status 403: not permitted"
    monkeypatch.setattr(
        "services.verifier.sink.read.ask_retention_seconds", lambda session: refused
    )
    result = world.verify(capsys)
    assert result.code == 1
    note = f"note: InfluxDB does not say how long it keeps points ({refused})"
    assert note in result.err
    assert "load.tiers.hot.retention" in result.err
