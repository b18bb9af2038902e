"""When the configuration is read again, and what comes of it; the clock is the test's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from common.config import file_digest, load_settings
from common.errors import ConfigError
from common.runtime.reload.config_watch import ConfigFile, ConfigWatch
from common.runtime.telemetry import Telemetry

BASE = """\
extract: {prometheus_url: 'http://prometheus:9090'}
load: {influxdb: {url: 'http://influxdb:8086', org: o, bucket: b}}
"""
OTHER = f"{BASE}transform: {{valid_metrics: [up]}}\n"
INVALID = f"{BASE}transfrom: {{}}\n"


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def _write(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    info = warning = error = _write

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.lines]


class World:
    """A watch of a file, and what it has done."""

    def __init__(self, path: Path) -> None:
        self.path, self.log, self.now = path, Log(), 1000.0
        self.begun: list[float] = []
        self.reads = 0
        path.write_text(BASE)
        self.telemetry = Telemetry("loader", CollectorRegistry(), logger=self.log)
        self.watch = ConfigWatch(
            ConfigFile(path, self.read), self.telemetry, self.again, wall=lambda: self.now
        )

    def read(self) -> Any:
        self.reads += 1
        return load_settings(self.path, {})

    def again(self) -> None:
        self.begun.append(self.now)

    def write(self, text: str) -> None:
        """Replaced, so that no two versions have the same number and time."""
        new = self.path.with_suffix(f".{os.urandom(4).hex()}")
        new.write_text(text)
        kept = self.path.with_suffix(f".{os.urandom(4).hex()}")
        os.link(self.path, kept)  # its number is not used again
        new.replace(self.path)

    def looks(self, times: int = 2) -> None:
        for _ in range(times):
            self.watch.look()

    @property
    def metrics(self) -> list[float]:
        found = self.telemetry.values(
            (
                "etl_config_last_reload_successful",
                "etl_config_last_reload_success_timestamp_seconds",
            )
        )
        names = ("successful", "success_timestamp_seconds")
        return [found[f"etl_config_last_reload_{name}"] for name in names]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "etl.yaml")


def test_a_file_that_nobody_touched_is_not_read_again(world: World) -> None:
    world.looks(5)

    assert (world.reads, len(world.begun), world.log.events) == (1, 0, [])
    assert world.metrics == [1, 1000]
    assert world.watch.digest == file_digest(world.path) != ""


def test_another_configuration_begins_again_once_it_is_left_alone(world: World) -> None:
    world.write(OTHER)
    world.watch.look()
    assert len(world.begun) == 0  # somebody may still be writing

    world.write(f"{OTHER}# more\n")
    world.watch.look()
    assert len(world.begun) == 0

    world.watch.look()
    assert len(world.begun) == 1
    assert world.log.events == ["config_changed"]
    # Until it has begun again it is not what is in force.
    assert world.watch.digest != world.watch.content == file_digest(world.path)


def test_who_asks_need_not_wait(world: World) -> None:
    world.write(OTHER)
    world.watch.look(asked=True)
    assert len(world.begun) == 1


def test_an_invalid_file_is_refused_and_said_once(world: World) -> None:
    in_force = world.watch.digest
    world.write(INVALID)
    world.now = 2000.0
    world.looks(5)
    world.watch.look(asked=True)

    assert (len(world.begun), world.log.events) == (0, ["config_refused"])
    assert "transfrom: is an unknown key" in world.watch.refused
    assert world.log.lines[0][1]["error"] == world.watch.refused
    assert world.watch.digest == in_force
    assert world.metrics == [0, 1000]

    world.write(BASE)
    world.now = 3000.0
    world.looks()

    assert (len(world.begun), world.watch.refused) == (0, "")
    assert world.log.events == ["config_refused", "config_unchanged"]
    assert world.metrics == [1, 3000]


def test_another_mistake_is_said_too(world: World) -> None:
    world.write(INVALID)
    world.looks()
    world.write("extract: [\n")
    world.looks()
    assert world.log.events == ["config_refused", "config_refused"]


def test_a_file_that_is_gone_is_refused_and_comes_back(world: World) -> None:
    kept = world.path.rename(world.path.with_suffix(".kept"))
    world.looks()
    assert "cannot be read" in world.watch.refused
    kept.rename(world.path)
    world.looks()
    assert (world.watch.refused, len(world.begun)) == ("", 0)


def test_what_says_the_same_in_other_words_changes_only_the_digest(world: World) -> None:
    before = world.watch.digest
    world.write(f"# The same.\n{BASE}")
    world.looks()
    assert (len(world.begun), world.log.events) == (0, ["config_unchanged"])
    assert world.watch.digest == file_digest(world.path) != before


def test_a_file_that_was_only_touched_is_not_validated(world: World) -> None:
    os.utime(world.path, (1, 1))
    world.looks()
    assert (world.reads, world.log.events) == (1, [])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("redis_url", "redis://elsewhere:6379/0"),
        ("redis_namespace", "other"),
        ("http_host", "127.0.0.1"),
        ("http_port", "9999"),
        ("log_file", "/tmp/{service}.log"),
    ],
)
def test_what_makes_it_another_process_needs_a_restart(world: World, key: str, value: str) -> None:
    world.write(f"{OTHER}pipeline: {{{key}: '{value}'}}\n")
    world.looks()
    assert world.watch.refused == f"pipeline.{key}: was changed, which needs a restart"
    assert (len(world.begun), world.metrics[0]) == (0, 0)


def test_what_is_written_during_the_start_is_noticed(tmp_path: Path) -> None:
    """Between looking at the file and reading it."""
    path = tmp_path / "etl.yaml"
    path.write_text(BASE)

    def read_slowly() -> Any:
        settings = load_settings(path, {})
        os.replace(other, path)
        return settings

    other = tmp_path / "other.yaml"
    other.write_text(OTHER)
    file = ConfigFile(path, read_slowly)
    begun: list[bool] = []
    log = Telemetry("loader", CollectorRegistry(), logger=Log())
    watch = ConfigWatch(file, log, lambda: begun.append(True))
    file.read = lambda: load_settings(path, {})
    watch.look()
    watch.look()
    assert begun == [True]


def test_an_invalid_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "etl.yaml"
    path.write_text(INVALID)
    with pytest.raises(ConfigError, match="unknown key"):
        ConfigFile(path, lambda: load_settings(path, {}))
