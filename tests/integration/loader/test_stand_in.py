"""The whole stand-in for InfluxDB 2, as its container runs it, and what makes and uses its token.

nginx with the container's own configuration, a real influxd 1.6, the management API in front of it;
``etlctl sink init`` prepares it, the loader's client writes to it, the watermark is read back.
"""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from common.config import load_settings
from common.errors import SinkError
from devtools import PROJECT_ROOT
from devtools.servers.binaries import Toolbox
from devtools.servers.http import missing_status
from devtools.servers.influx_api import Api, InfluxdDatabases, State
from devtools.servers.influx_server import Influxd
from devtools.servers.nginx import NginxServer
from devtools.servers.ports import HOST
from devtools.servers.waiting import wait_until
from services.loader.influx import InfluxSink
from services.loader.responses import Kind
from services.loader.watermark import MEASUREMENT, WatermarkReader
from tests.doubles.influx_management import serving
from tests.support.secret_folders import Capture, run

ADMIN_TOKEN = "the-operators-token"
ORG = "monitoring"
DAY_MS = 86_400_000
NGINX_CONF = PROJECT_ROOT / "deploy" / "stand_ins" / "nginx.conf"


class Nginx(NginxServer):
    """nginx with the container's configuration, its addresses and folders replaced by ours."""

    def __init__(
        self, toolbox: Toolbox, work_dir: Path, log_dir: Path, influxd: str, api: str
    ) -> None:
        super().__init__(toolbox, "stand-in-nginx", work_dir, log_dir=log_dir)
        self._replace = {"127.0.0.1:8088": influxd, "127.0.0.1:8087": api}

    def config_text(self) -> str:
        text = NGINX_CONF.read_text(encoding="utf-8")
        for old, new in {
            **self._replace,
            "listen 8086": f"listen {HOST}:{self.port}",
            "/tmp/nginx": str(self.work_dir),
        }.items():
            assert old in text, f"{NGINX_CONF} does not say {old}"
            text = text.replace(old, new)
        return self.main_directives + text

    def probe(self) -> str | None:
        return missing_status(f"{self.url}/ping", 204)


class World:
    """The stand-in, set up with an organisation and a bucket, and a pipeline's configuration."""

    def __init__(self, url: str, influxd: Influxd, folder: Path) -> None:
        self.url = url
        self.influxd = influxd
        self.token_file = folder / "token"
        self.config = folder / "etl.yaml"
        self.admin_file = folder / "admin"
        self.admin_file.write_text(ADMIN_TOKEN, encoding="utf-8")
        self.admin_file.chmod(0o600)
        document = {
            "extract": {"prometheus_url": "http://prometheus:9090"},
            "load": {
                "influxdb": {
                    "url": url,
                    "token_file": str(self.token_file),
                    "org": ORG,
                    "bucket": "metrics",
                },
                "tiers": {"hot": {"bucket": "metrics", "retention": "14d"}},
            },
        }
        self.config.write_text(yaml.safe_dump(document), encoding="utf-8")

    def init(self, capsys: Capture) -> int:
        code, _, err = run(
            capsys,
            *("sink", "init", "--config", str(self.config)),
            *("--admin-token-file", str(self.admin_file), "--wait-seconds", "30"),
        )
        assert (code, err) == (0, "")
        return code

    def write(self, bucket: str, lines: bytes, token: str | None = None) -> Kind:
        influxdb = load_settings(self.config, {}).load.influxdb
        if token is not None:
            environ = {"ETL__LOAD__INFLUXDB__TOKEN": token}
            influxdb = load_settings(self.config, environ).load.influxdb
        sink = InfluxSink(influxdb, connections=1)
        try:
            return sink.write(bucket, gzip.compress(lines)).kind
        finally:
            sink.close()


@pytest.fixture
def world(toolbox: Toolbox, tmp_path: Path, log_dir: Path) -> Iterator[World]:
    influxd = Influxd(
        toolbox,
        tmp_path / "influxd",
        name="stand-in-influxd",
        log_dir=log_dir,
        max_body_bytes=25_000_000,
        settings={},
        port=None,
    )
    state = State.load(tmp_path / "state.json")
    with influxd:
        api = Api(state, InfluxdDatabases(influxd.url))
        api.set_up(ADMIN_TOKEN, ORG, "first")
        with (
            serving(api) as api_url,
            Nginx(
                toolbox,
                tmp_path / "nginx",
                log_dir,
                influxd.url.removeprefix("http://"),
                api_url.removeprefix("http://"),
            ) as nginx,
        ):
            yield World(nginx.url, influxd, tmp_path)


def watermark(at_ms: int) -> bytes:
    """As the loader's keeper writes it."""
    return f"{MEASUREMENT},query=q,tier=hot value={at_ms}.0 {at_ms}\n".encode()


def test_the_loaders_token_writes_and_reads_its_bucket_only(world: World, capsys: Capture) -> None:
    world.init(capsys)
    now_ms = int(time.time() * 1000)
    assert world.write("metrics", watermark(now_ms)) is Kind.WRITTEN
    assert world.write("first", watermark(now_ms)) is Kind.REFUSED
    assert world.write("metrics", watermark(now_ms), token="nobody's") is Kind.REFUSED
    assert world.write("metrics", watermark(now_ms - 15 * DAY_MS)) is Kind.RETENTION
    reader = WatermarkReader(load_settings(world.config, {}).load.influxdb, "etl")
    try:
        assert reader.read("metrics", "q", "hot") == now_ms
        with pytest.raises(SinkError, match="database not found: first"):
            reader.read("first", "q", "hot")
    finally:
        reader.close()


def test_a_token_that_is_made_anew_takes_the_place_of_the_old_one(
    world: World, capsys: Capture
) -> None:
    world.init(capsys)
    old = world.token_file.read_text(encoding="utf-8")
    world.token_file.unlink()
    world.init(capsys)
    now_ms = int(time.time() * 1000)
    assert world.write("metrics", watermark(now_ms)) is Kind.WRITTEN
    assert world.write("metrics", watermark(now_ms), token=old) is Kind.REFUSED


def test_the_job_waits_for_influxd(world: World, capsys: Capture) -> None:
    world.influxd.kill()
    wait_until(
        lambda: missing_status(f"{world.url}/health", 503) is None,
        deadline_seconds=30,
        what="the stand-in is not healthy",
    )
    late = threading.Thread(target=world.influxd.start)
    late.start()
    try:
        world.init(capsys)
    finally:
        late.join()
