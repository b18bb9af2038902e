"""``etlctl status``, ``/readyz`` and the metrics of a real loader say the same of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until
from etlctl.__main__ import main
from tests.doubles.influx_engine import ORG, TOKEN, Engine
from tests.doubles.influxdb2 import InfluxDB2

BUCKET = "metrics"


@pytest.fixture
def sink() -> Iterator[InfluxDB2]:
    with InfluxDB2(Engine(BUCKET)) as server:
        yield server


@pytest.fixture
def config(
    sink: InfluxDB2, redis_server: RedisServer, redis_namespace: str, tmp_path: Path
) -> Path:
    document = {
        "extract": {"prometheus_url": "http://127.0.0.1:9"},
        "load": {
            "influxdb": {"url": sink.url, "token": TOKEN, "org": ORG, "bucket": BUCKET},
            "backoff_max_seconds": 0.5,
        },
        "pipeline": {
            "redis_url": redis_server.plain_url,
            "redis_namespace": redis_namespace,
            "interval_seconds": 1,
        },
    }
    file = tmp_path / "etl.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


def failing_by_readyz(process: ServiceProcess) -> dict[str, str]:
    checks = requests.get(f"{process.url}/readyz", timeout=5).json()["checks"]
    return {name: one["detail"] for name, one in checks.items() if not one["ok"]}


@pytest.mark.usefixtures("redis_client")
def test_what_readyz_says_status_says(
    sink: InfluxDB2,
    config: Path,
    tmp_path: Path,
    log_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before: with a loader that was paused `status` said that all is well, and ended with 0."""

    def status() -> tuple[int, dict[str, Any]]:
        with pytest.raises(SystemExit) as caught:
            main(["status", "--config", str(config), "--json"])
        assert isinstance(caught.value.code, int)
        return caught.value.code, json.loads(capsys.readouterr().out)

    def failing_by_status() -> dict[str, str] | None:
        """None while the loader is not there."""
        code, document = status()
        assert code == 1  # nothing else runs
        found = [one for one in document["workers"] if one["service"] == "loader"]
        if not found:
            return None
        said = [one["detail"] for one in document["findings"] if one["kind"] == "not_ready"]
        assert bool(said) == bool(found[0]["failing"])
        return dict(found[0]["failing"])

    def agree(check: str | None) -> Callable[[], bool]:
        def both() -> bool:
            by_status, by_readyz = failing_by_status(), failing_by_readyz(process)
            expected = by_status == {} == by_readyz
            return expected if check is None else check in (by_status or {}) and check in by_readyz

        return both

    process = ServiceProcess("loader", tmp_path / "loader", config=config, log_dir=log_dir)
    try:
        process.start()
        wait_until(agree(None), deadline_seconds=20, what="all to say that the loader is ready")
        sink.engine.may_read = False
        wait_until(agree("sink_read"), deadline_seconds=20, what="both to say that nothing is read")
        sink.engine.may_read = True
        wait_until(agree(None), deadline_seconds=30, what="all to say that it is ready again")
        sink.engine.active = False
        wait_until(agree("dependency"), deadline_seconds=30, what="both to say that it is refused")
        process.stop()
        assert failing_by_status() is None  # it took its report away
    finally:
        process.close()
