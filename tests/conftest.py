"""Fixtures: real servers, started when a test first asks for them, one set for each test worker."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from devtools import PROJECT_ROOT
from devtools.servers.binaries import Toolbox, sources_with_prometheus_of
from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer, ScrapeJob
from devtools.servers.redis_server import RedisServer
from devtools.servers.stack import LocalStack, new_run_dir
from tests.compose import engine

# Everything under test is on loopback; a proxy from the environment must not stand between.
for _name in ("NO_PROXY", "no_proxy"):
    _known = os.environ.get(_name, "")
    os.environ[_name] = ",".join(filter(None, (_known, "127.0.0.1,localhost")))


COMPOSE_TESTS = Path(__file__).parent / "compose"

_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")


@pytest.fixture(scope="session")
def toolbox() -> Toolbox:
    """The servers' programs; what is missing is unpacked when first asked for."""
    suite = os.environ.get("ETL_TEST_PROMETHEUS", "")
    return Toolbox(sources=sources_with_prometheus_of(suite))


@pytest.fixture(scope="session")
def log_dir() -> Path:
    """Where the servers of this worker log; emptied first, kept afterwards."""
    # What runs beside other tests has a folder of its own.
    run = os.environ.get("ETL_TEST_RUN", "tests")
    folder = PROJECT_ROOT / "build" / run / _WORKER / "logs"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


@pytest.fixture(scope="session")
def server_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers of this worker keep their data."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def redis_server(toolbox: Toolbox, server_dir: Path, log_dir: Path) -> Iterator[RedisServer]:
    """A Redis for this worker. Take ``make_redis`` to kill, pause or fill one."""
    with RedisServer(toolbox, server_dir / "redis", log_dir=log_dir) as server:
        yield server


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A client of an empty Redis; replies are bytes."""
    redis_server.resume()
    redis_server.start()
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def redis_namespace() -> str:
    """A prefix for keys that no other test has."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def prometheus_server(
    toolbox: Toolbox, server_dir: Path, log_dir: Path
) -> Iterator[PrometheusServer]:
    """A Prometheus that scrapes itself each second as job ``prometheus``, without history."""
    server = PrometheusServer(
        toolbox, server_dir / "prometheus", log_dir=log_dir, jobs=(ScrapeJob("prometheus"),)
    )
    with server:
        server.set_targets("prometheus", [f"127.0.0.1:{server.port}"])
        yield server


@pytest.fixture(scope="session")
def influx_server(toolbox: Toolbox, server_dir: Path, log_dir: Path) -> Iterator[InfluxServer]:
    """An InfluxDB without token check. Take ``make_influx`` for tokens, limits and faults."""
    with InfluxServer(toolbox, server_dir / "influxdb", log_dir=log_dir) as server:
        yield server


@pytest.fixture
def influx_database(influx_server: InfluxServer) -> Iterator[str]:
    """Name of an empty database in ``influx_server``."""
    name = f"t{uuid.uuid4().hex[:12]}"
    influx_server.create_database(name)
    yield name
    influx_server.drop_database(name)


@pytest.fixture
def make_redis(
    toolbox: Toolbox, tmp_path: Path, log_dir: Path
) -> Iterator[Callable[..., RedisServer]]:
    """``make_redis(**options)`` → a started Redis of the test's own."""
    made: list[RedisServer] = []

    def make(**options: Any) -> RedisServer:
        name = f"redis-{uuid.uuid4().hex[:8]}"
        made.append(RedisServer(toolbox, tmp_path / name, name=name, log_dir=log_dir, **options))
        return made[-1].start()

    yield make
    for server in made:
        server.close()


@pytest.fixture
def make_prometheus(
    toolbox: Toolbox, tmp_path: Path, log_dir: Path
) -> Iterator[Callable[..., PrometheusServer]]:
    """``make_prometheus(**options)`` → a started Prometheus of the test's own."""
    made: list[PrometheusServer] = []

    def make(*, backfill: str | None = None, **options: Any) -> PrometheusServer:
        name = f"prometheus-{uuid.uuid4().hex[:8]}"
        server = PrometheusServer(toolbox, tmp_path / name, name=name, log_dir=log_dir, **options)
        made.append(server)
        if backfill is not None:
            server.backfill(backfill)
        return server.start()

    yield make
    for server in made:
        server.close()


@pytest.fixture
def make_influx(
    toolbox: Toolbox, tmp_path: Path, log_dir: Path
) -> Iterator[Callable[..., InfluxServer]]:
    """``make_influx(**options)`` → a started InfluxDB of the test's own."""
    made: list[InfluxServer] = []

    def make(**options: Any) -> InfluxServer:
        name = f"influxdb-{uuid.uuid4().hex[:8]}"
        made.append(InfluxServer(toolbox, tmp_path / name, name=name, log_dir=log_dir, **options))
        return made[-1].start()

    yield make
    for server in made:
        server.close()


@pytest.fixture(scope="session")
def local_stack(toolbox: Toolbox) -> Iterator[LocalStack]:
    """All servers and the test application, on config/etl.yaml, without our services."""
    with LocalStack(new_run_dir(f"tests/{_WORKER}/stack"), toolbox=toolbox) as stack:
        yield stack


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Long binary parameters are named by their length: a gzip member holds the time of day."""
    del config
    if isinstance(val, bytes) and (len(val) > 20 or val.startswith(b"\x1f\x8b")):
        return f"{argname}-{len(val)}-bytes"
    return None


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say in one line that the deployment's tests were left out, where they were asked for."""
    # Here and not beside those tests: with several test processes only this file is read by the
    # one that writes the report.
    wanted = {Path(argument).resolve() for argument in config.args}
    if not wanted & {COMPOSE_TESTS, *COMPOSE_TESTS.parents}:
        return
    if (why := engine.missing()) is not None:
        terminalreporter.write_line(f"tests/compose was left out: {why}")
