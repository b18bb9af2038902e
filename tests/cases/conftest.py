"""One Prometheus with the inputs of all cases, and what runs a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.redis_server import RedisServer
from tests.cases.runner.case import Case, openmetrics_of, read_cases
from tests.cases.runner.pipeline import clock_of, pipeline_for
from tests.cases.runner.reading import is_readable
from tests.cases.runner.settings import settings_of
from tests.cases.runner.sinks import sink_for
from tests.cases.runner.verdict import differences, look

RunCase = Callable[[Case], list[str]]


@pytest.fixture(scope="session")
def history(toolbox: Toolbox, server_dir: Path, log_dir: Path) -> Iterator[PrometheusServer]:
    """A Prometheus that scrapes nothing and keeps the inputs however old they are."""
    server = PrometheusServer(
        toolbox,
        server_dir / "prometheus-cases",
        name="prometheus-cases",
        log_dir=log_dir,
        retention="100y",
    )
    server.backfill(openmetrics_of(read_cases(Path(__file__).parent)))
    with server:
        yield server


@pytest.fixture
def run_case(
    history: PrometheusServer,
    redis_server: RedisServer,
    redis_client: Redis,
    redis_namespace: str,
    make_influx: Callable[..., InfluxServer],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> RunCase:
    """Runs a case, step by step → what was not as expected."""

    def shared() -> InfluxServer:
        server: InfluxServer = request.getfixturevalue("influx_server")
        return server

    def run(case: Case) -> list[str]:
        clock = clock_of(case)
        found: list[str] = []
        with sink_for(case, clock, shared, make_influx) as sink:
            settings = settings_of(
                case,
                tmp_path,
                prometheus=history.url,
                influxdb=sink.url,
                redis=redis_server.url,
                namespace=redis_namespace,
            )
            with pipeline_for(case, settings, redis_client, clock) as pipeline:
                for number, step in enumerate(case.description.steps, 1):
                    sink.behave(step.sink)
                    ledger = pipeline.run()
                    seen = look(ledger, pipeline, sink, settings, clock, step)
                    found += [f"step {number}: {one}" for one in differences(step, seen)]
                    if step.readable is not None and is_readable(settings, clock) != step.readable:
                        found.append(f"step {number}: readable is not {step.readable}")
        return found

    return run
