"""Readiness of every service follows each of its dependencies: away, hanging, refusing, back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until

RIGHT, WRONG = "right-password", "another-password"
# One interval as it is set by default.
NOTICED_SECONDS = 15.0
# And the longest wait of a loop that found Redis away.
BACK_SECONDS = 30.0


@dataclass
class Faults:
    """Three ways for a dependency to be useless, and what ends each."""

    server: Any
    set_password: Callable[[str], None]
    check: str
    kinds: dict[str, tuple[Callable[[], object], Callable[[], object]]] = field(init=False)

    def __post_init__(self) -> None:
        server = self.server
        self.kinds = {
            "killed": (server.kill, server.start),
            "stopped": (server.pause, server.resume),
            "wrong password": (
                lambda: self.set_password(WRONG),
                lambda: self.set_password(RIGHT),
            ),
        }


@dataclass
class World:
    redis: RedisServer
    prometheus: PrometheusServer
    influx: InfluxServer

    def faults(self, dependency: str) -> Faults:
        if dependency == "redis":
            return Faults(self.redis, self._redis_password, "redis")
        if dependency == "prometheus":
            return Faults(self.prometheus, self._prometheus_password, "prometheus")
        return Faults(self.influx, self._influx_token, "sink_read")

    def _redis_password(self, password: str) -> None:
        with self.redis.client() as client:
            client.config_set("requirepass", password)
            client.client_kill_filter(_type="normal", skipme=True)
        self.redis.password = password

    def _prometheus_password(self, password: str) -> None:
        self.prometheus.basic_auth = ("etl", password)
        self.prometheus.restart()

    def _influx_token(self, token: str) -> None:
        self.influx.front._token = token
        self.influx.front.restart()


@pytest.fixture
def world(
    make_redis: Callable[..., RedisServer],
    make_prometheus: Callable[..., PrometheusServer],
    make_influx: Callable[..., InfluxServer],
) -> World:
    return World(
        make_redis(password=RIGHT),
        make_prometheus(basic_auth=("etl", RIGHT)),
        make_influx(databases=("b",), token=RIGHT),
    )


@pytest.fixture
def start(world: World, tmp_path: Path, log_dir: Path) -> Iterator[Callable[[str], ServiceProcess]]:
    password = tmp_path / "password"
    password.write_text(RIGHT, encoding="utf-8")
    password.chmod(0o600)
    config = {
        "extract": {
            "prometheus_url": world.prometheus.url,
            "timeout": 2,
            "auth": {"username": "etl", "password_file": str(password)},
        },
        "load": {
            "influxdb": {
                "url": world.influx.url,
                "token_file": str(password),
                "org": "o",
                "bucket": "b",
                "timeout_seconds": 2,
            },
            "backoff_max_seconds": 0.5,
        },
        "pipeline": {
            "redis_url": world.redis.plain_url,
            "redis_password_file": str(password),
            "interval_seconds": 1,
        },
    }
    file = tmp_path / "etl.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    exporter = {
        "ETL_METRICS_REDIS_URL": world.redis.plain_url,
        "ETL_METRICS_REDIS_PASSWORD_FILE": str(password),
        "ETL_METRICS_REDIS_POLL_SECONDS": "1",
    }
    made: list[ServiceProcess] = []

    def begin(service: str) -> ServiceProcess:
        options: dict[str, Any] = {"config": file}
        if service == "exporter":
            options = {"environ": exporter, "environ_prefix": "ETL_METRICS_"}
        made.append(ServiceProcess(service, tmp_path / service, log_dir=log_dir, **options))
        return made[-1].start()

    yield begin
    for process in made:
        process.close()


def failing(process: ServiceProcess) -> dict[str, str]:
    """The checks that fail, and why; empty exactly if the service is ready."""
    answer = requests.get(f"{process.url}/readyz", timeout=5)
    checks: dict[str, dict[str, Any]] = answer.json()["checks"]
    found = {name: one["detail"] for name, one in checks.items() if not one["ok"]}
    assert (answer.status_code == 200) == (not found)
    return found


def health_status(process: ServiceProcess) -> float:
    text = requests.get(f"{process.url}/metrics", timeout=5).text
    (line,) = [line for line in text.splitlines() if line.startswith("etl_health_status ")]
    return float(line.split()[-1])


@pytest.mark.parametrize(
    ("service", "dependency"),
    [
        ("extractor", "redis"),
        ("extractor", "prometheus"),
        ("transformer", "redis"),
        ("loader", "redis"),
        ("loader", "influxdb"),
        ("exporter", "redis"),
    ],
)
def test_readiness_follows(
    world: World, start: Callable[[str], ServiceProcess], service: str, dependency: str
) -> None:
    """Tried before: 230 s after Redis was killed the extractor was ready, its check `redis` too."""
    process = start(service)
    faults = world.faults(dependency)
    for kind, (begin, end) in faults.kinds.items():
        begin()
        wait_until(
            lambda: faults.check in failing(process),
            deadline_seconds=NOTICED_SECONDS,
            what=f"{service} to notice that {dependency} is {kind}",
        )
        if service != "exporter":
            assert health_status(process) == 0
        assert process.missing_live() is None
        end()
        wait_until(
            lambda: not failing(process),
            deadline_seconds=BACK_SECONDS,
            what=f"{service} to be ready after {dependency} was {kind}",
        )
        if service != "exporter":
            assert health_status(process) == 1
