"""``etlctl sink init`` reaches InfluxDB as the loader does: TLS, client certificate, proxies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
import yaml

from tests.doubles.influx_management import a_place, an_influx
from tests.doubles.influxdb3 import Engine3, InfluxDB3
from tests.support.mutual_tls import MutualTls
from tests.support.relays import forward_proxy, tls_front
from tests.support.secret_folders import Capture, run

HOST = "sink.invalid"  # nobody but the proxy can resolve it
AWAY = "http://127.0.0.1:9"  # discard: nobody listens
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass
class Job:
    """The command with a configuration; ``made`` gives the buckets or databases that are there."""

    folder: Path
    capsys: Capture
    port: int
    admin_token: str
    made: Callable[[], set[str]]
    org: str = "none"
    out: str = ""
    err: str = ""

    def run(self, url: str, **influxdb: Any) -> int:
        admin_file, config = self.folder / "admin", self.folder / "etl.yaml"
        admin_file.write_text(self.admin_token, encoding="utf-8")
        admin_file.chmod(0o600)
        known = {"url": url, "org": self.org, "bucket": "metrics", "token_file": "token"}
        document = {
            "extract": {"prometheus_url": "http://prometheus:9090"},
            "load": {"influxdb": known | influxdb},
        }
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        code, self.out, self.err = run(
            self.capsys,
            *("sink", "init", "--config", str(config)),
            *("--admin-token-file", str(admin_file), "--wait-seconds", "0"),
        )
        return code


@contextmanager
def influxdb2(folder: Path, capsys: Capture) -> Iterator[Job]:
    with an_influx() as influx, a_place(influx) as place:
        port = urlsplit(influx.url).port
        assert port is not None
        token, made = influx.admin_token, lambda: set(place.rules())
        yield Job(folder, capsys, port, token, made, place.org)


@contextmanager
def influxdb3(folder: Path, capsys: Capture) -> Iterator[Job]:
    with InfluxDB3(Engine3()) as server:
        engine, port = server.engine, urlsplit(server.url).port
        assert port is not None
        yield Job(folder, capsys, port, engine.token, lambda: set(engine.buckets))


@pytest.fixture(params=[influxdb2, influxdb3])
def job(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Job]:
    for name in (*VARIABLES, *map(str.upper, VARIABLES), "ETL_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    with request.param(tmp_path, capsys) as made:
        yield made


def test_a_client_certificate_is_shown(job: Job, tmp_path: Path) -> None:
    tls = MutualTls(tmp_path / "tls", "127.0.0.1")
    with tls_front(job.port, tls.context) as port:
        url = f"https://127.0.0.1:{port}"
        assert (job.run(url, **tls.settings), job.err) == (0, "")
        assert "metrics" in job.made()
        assert (tmp_path / "token").exists()

        assert job.run(url, ca_file=str(tls.ca_file)) == 3
        assert "alert certificate required (load.influxdb.cert_file is not set)" in job.err

        trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
        assert job.run(url, **{**tls.settings, "ca_file": str(tmp_path / "other.pem")}) == 3
        assert f"(load.influxdb.ca_file: {tmp_path / 'other.pem'})" in job.err

        assert job.run(url.replace("127.0.0.1", "localhost"), **tls.settings) == 3
        assert "mismatch" in job.err
        assert f"(load.influxdb.url: https://localhost:{port})" in job.err


def test_a_url_that_is_away_is_passed_over(job: Job, tmp_path: Path) -> None:
    there = f"http://127.0.0.1:{job.port}"
    assert (job.run(AWAY, urls=[AWAY, there]), job.err) == (0, "")
    assert "metrics" in job.made()
    assert (tmp_path / "token").exists()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("named_by", ["load.influxdb.proxy_url", "variable", "ALL_PROXY"])
def test_a_proxy_is_used(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, named_by: str
) -> None:
    tls = MutualTls(tmp_path / "tls", HOST)
    credentials = "" if named_by == "load.influxdb.proxy_url" else "me:s3cret"
    more: dict[str, Any] = tls.settings if scheme == "https" else {}
    with tls_front(job.port, tls.context) as tls_port:
        ports = {HOST: tls_port if scheme == "https" else job.port}
        with forward_proxy(ports, credentials) as proxy:
            if credentials:
                name = f"{scheme}_proxy" if named_by == "variable" else named_by
                monkeypatch.setenv(name, f"http://{credentials}@{proxy.address}")
            else:
                more["proxy_url"] = proxy.url

            assert (job.run(f"{scheme}://{HOST}", **more), job.err) == (0, "")
            assert "metrics" in job.made()
            assert ("CONNECT" in dict(proxy.seen)) is (scheme == "https")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_named(
    job: Job, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with forward_proxy({HOST: job.port}, "me:s3cret") as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://me:w0rd@{proxy.address}")
        assert job.run(f"{scheme}://{HOST}") == 3
        assert "407" in job.err
        assert f"({scheme}_proxy: {proxy.url})" in job.err
        assert "w0rd" not in job.err


def test_a_proxy_that_is_away_is_named(job: Job) -> None:
    assert job.run(f"http://{HOST}", proxy_url="http://127.0.0.1:1") == 3
    assert "the proxy: " in job.err
    assert "(load.influxdb.proxy_url: http://127.0.0.1:1)" in job.err


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("ca_file", None, "which cannot be read: No such file"),
        ("ca_file", "no certificate", "which holds no certificate that can be used"),
        ("cert_file", "no certificate", "no certificate with its key that can be used"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_setting(
    job: Job, tmp_path: Path, name: str, content: str | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "odd.pem").write_text(content, encoding="utf-8")
    assert job.run("https://127.0.0.1:1", **{name: "odd.pem"}) == 2
    assert job.err.startswith(f"etlctl: {tmp_path / 'etl.yaml'}:")
    assert f"load.influxdb.{name}: names {tmp_path / 'odd.pem'}" in job.err
    assert why in job.err
    assert len(job.err.splitlines()) == 1


def test_an_operators_token_that_is_not_known_is_named(job: Job, tmp_path: Path) -> None:
    job.admin_token = "nobody's"
    assert job.run(f"http://127.0.0.1:{job.port}") == 3
    assert "401" in job.err
    assert f"(--admin-token-file: {tmp_path / 'admin'})" in job.err
    assert len(job.err.splitlines()) == 1
