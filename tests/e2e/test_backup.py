"""A backup, restored into empty servers: nothing is lost, and the pipeline goes on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtools.servers.binaries import Toolbox
from devtools.servers.ports import free_port
from devtools.servers.processes import stop_together
from devtools.servers.stack import LocalStack
from tests.e2e.conftest import QUICK
from tests.e2e.pipeline import Pipeline
from tests.support.redis_content import content_of

SERVICES = {"extractor": 1, "transformer": 1, "loader": 1}


class World:
    """A pipeline with an InfluxDB and a Prometheus that can be saved, and a Grafana's database."""

    def __init__(self, pipeline: Pipeline, toolbox: Toolbox, folder: Path, address: str) -> None:
        self.pipeline = pipeline
        self.stack = pipeline.stack
        self.backup = folder / "backup"
        self.grafana = folder / "grafana"
        self.options = [
            *("--influxd", str(toolbox.program("influxd").path), "--influxd-address", address),
            *("--prometheus-data", str(self.stack.prometheus.data_dir)),
            *("--grafana-data", str(self.grafana)),
        ]
        self.grafana.mkdir()
        with closing(sqlite3.connect(self.grafana / "grafana.db")) as database:
            database.execute("CREATE TABLE dashboard (title TEXT)")
            database.execute("INSERT INTO dashboard VALUES ('mine')")
            database.commit()

    def run(self, command: str, *options: str) -> Any:
        ran = self.pipeline.etlctl(command, str(self.backup), *self.options, *options)
        assert ran.returncode == 0, ran.stderr
        return ran

    def lose_everything(self) -> None:
        self.pipeline.redis.close()
        self.stack.redis.restart(keep_data=False)
        self.stack.influx.restart(keep_data=False)
        self.stack.prometheus.stop()
        self.stack.prometheus.forget_data()
        self.stack.prometheus.data_dir.mkdir()
        (self.grafana / "grafana.db").unlink()


@pytest.fixture
def world(toolbox: Toolbox, tmp_path: Path) -> Iterator[World]:
    address = f"127.0.0.1:{free_port()}"
    with LocalStack(
        tmp_path / "stack",
        toolbox=toolbox,
        config_overrides=QUICK,
        influx_settings={"": {"bind-address": address}},
        prometheus_flags=("--web.enable-admin-api",),
    ) as stack:
        pipeline = Pipeline(stack)
        yield World(pipeline, toolbox, tmp_path, address)
        pipeline.redis.close()


def test_after_a_restore_nothing_is_lost_and_the_pipeline_goes_on(world: World) -> None:
    pipeline, stack = world.pipeline, world.stack
    stack.start_services(SERVICES)
    pipeline.until_flowing()
    pipeline.prove()
    # Entries are left in flight: they are state as well.
    stop_together(stack.services["loader"])
    pipeline.until(lambda: pipeline.audit().total.in_flight, "entries wait for the loader")
    stack.stop_services()
    state, audit = content_of(pipeline.redis, "etl:*"), pipeline.audit()
    # It is of a loader that does not run any more.
    state.pop(b"etl:seals:writer", None)

    saved = json.loads(world.run("backup", "--json").stdout)
    assert set(saved["done"]) == {"redis", "influxdb", "prometheus", "grafana"}
    assert saved["skipped"] == {}

    world.lose_everything()
    assert not pipeline.feeds()
    world.run("restore")
    assert content_of(pipeline.redis, "etl:*") == state
    assert pipeline.audit().accounts == audit.accounts
    with closing(sqlite3.connect(world.grafana / "grafana.db")) as database:
        assert database.execute("SELECT title FROM dashboard").fetchall() == [("mine",)]

    stack.prometheus.start()
    stack.start_services(SERVICES)
    since_ms = min(feed.origin_ms for feed in pipeline.feeds().values())
    assert pipeline.prove(since_ms)["verdict"] == "equal"
    assert pipeline.loaded() > audit.total.loaded
