"""Databases of a real influxd 1.x, by its own program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from common.config.load import InfluxSettings
from common.errors import SinkError, StackError
from common.sink.http_session import SinkSession
from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.ports import free_port
from devtools.servers.waiting import wait_until
from etlctl.backup.influx import InfluxDb
from etlctl.backup.influx1 import Influx1


def nothing(_: int) -> None:
    pass


@pytest.fixture
def saved_in(tmp_path: Path) -> Path:
    (folder := tmp_path / "backup").mkdir()
    return folder


class World:
    """A real influxd that takes backups at ``address``."""

    def __init__(self, server: InfluxServer, program: str, address: str) -> None:
        self.server, self.program, self.address = server, program, address

    @contextmanager
    def part(self, *databases: str, **options: str) -> Iterator[InfluxDb]:
        known = {"program": self.program, "address": self.address} | options
        settings = InfluxSettings(url=self.server.url, org="o", bucket="hot")
        with closing(SinkSession(settings, connections=1, environ={})) as session:
            made = Influx1(session, databases, **known)
            yield InfluxDb(session, {1: lambda: made})

    def write(self, database: str, lines: str) -> None:
        self.server.create_database(database)
        url = f"{self.server.direct_url}/write?db={database}&precision=ms"
        requests.post(url, data=lines.encode(), timeout=10).raise_for_status()

    def read(self, database: str) -> list[dict[str, Any]]:
        return self.server.query("SELECT * FROM /.*/", database=database)


@pytest.fixture
def world(make_influx: Callable[..., InfluxServer], toolbox: Toolbox) -> World:
    address = f"127.0.0.1:{free_port()}"
    server = make_influx(settings={"": {"bind-address": address}})
    return World(server, str(toolbox.program("influxd").path), address)


def test_databases_come_back_and_others_stay(world: World, saved_in: Path) -> None:
    world.write("hot", "up,job=a value=1.5 1700000000000\nup,job=ä\\ b value=-0.0 1700000000001")
    world.write("cold db", "up value=2 1700000000000")
    world.write("other", "up value=3 1700000000000")
    before = {name: world.read(name) for name in ("hot", "cold db", "other")}
    moved: list[int] = []
    with world.part("hot", "cold db", "hot") as part:
        saved = part.save(saved_in, moved.append)
        assert saved.said == "2 databases of InfluxDB 1.x"
        assert sum(moved) > 0
        for name in ("hot", "cold db"):
            world.server.drop_database(name)
        part.check(saved_in, saved.known)
        part.restore(saved_in, saved.known, nothing)

    def is_back() -> bool:
        try:
            return {name: world.read(name) for name in before} == before
        except StackError:
            return False

    # influxd opens the restored shards when its program has already ended.
    wait_until(is_back, deadline_seconds=30, what="the databases are as they were")


def test_a_database_that_exists_is_left_alone(world: World, saved_in: Path) -> None:
    world.write("hot", "up value=1 1700000000000")
    with world.part("hot") as part:
        known = part.save(saved_in, nothing).known
        with pytest.raises(SinkError, match=r"has a database 'hot' already.*DROP DATABASE \"hot\""):
            part.check(saved_in, known)


def test_what_influxd_refuses_is_told_in_its_words(world: World, saved_in: Path) -> None:
    world.server.create_database("hot")
    with world.part("none") as part, pytest.raises(SinkError, match=r"influxd backup of .*'none'"):
        part.save(saved_in, nothing)
    with (
        world.part("hot", address=f"127.0.0.1:{free_port()}") as part,
        pytest.raises(SinkError, match=r"takes no backups at 127.*refused.*--influxd-address"),
    ):
        part.save(saved_in / "0", nothing)


def test_a_program_that_is_missing_is_named(world: World, saved_in: Path) -> None:
    with (
        world.part("hot", program="influxd-none") as part,
        pytest.raises(SinkError, match=r"influxd-none: there is no such program: .*--influxd"),
    ):
        part.save(saved_in, nothing)
