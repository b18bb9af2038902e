"""Copies of secrets for containers: whose they are, what they look like, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.image.secret_handout import run
from deploy.image.secret_list import Consumer
from devtools import PROJECT_ROOT
from tests.support.secret_folders import Capture, contents, mode

# Only root can give files away; for anybody else the consumer is who runs the test.
UID, GID = (10001, 10002) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
ROOT = PROJECT_ROOT


class World:
    """Sources, and a folder for each consumer."""

    def __init__(self, base: Path) -> None:
        self.source = base / "run-secrets"
        self.target = base / "handout"
        self.source.mkdir()
        for name in ("redis", "etl"):
            (self.target / name).mkdir(parents=True)
        for name in ("redis_password", "metrics_password", "prometheus_web.yml"):
            self.write(name, f"value of {name}")

    def write(self, name: str, text: str) -> None:
        (self.source / name).write_text(text, encoding="utf-8")
        (self.source / name).chmod(0o600)

    def run(self, *consumers: Consumer) -> int:
        return run(consumers, self.source, self.target)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def spec(name: str, *secrets: str, optional: tuple[str, ...] = ()) -> Consumer:
    return Consumer(name, UID, GID, (*secrets, *optional), frozenset(optional))


def test_each_consumer_has_its_own_copies(world: World, capsys: Capture) -> None:
    assert world.run(spec("redis", "redis_password"), spec("etl", "redis_password")) == 0
    assert contents(world.target / "redis") == {"redis_password": b"value of redis_password"}
    for consumer in ("redis", "etl"):
        folder = world.target / consumer
        for path in (folder, folder / "redis_password"):
            assert (path.stat().st_uid, path.stat().st_gid) == (UID, GID)
        assert mode(folder) == 0o500
        assert mode(folder / "redis_password") == 0o400
    out = capsys.readouterr().out
    assert out == "redis: handed out: redis_password\netl: handed out: redis_password\n"


def test_again_nothing_is_touched(world: World, capsys: Capture) -> None:
    world.run(spec("redis", "redis_password"))
    file = world.target / "redis" / "redis_password"
    before = file.stat()
    capsys.readouterr()
    assert world.run(spec("redis", "redis_password")) == 0
    assert capsys.readouterr().out == "redis: kept: redis_password\n"
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_new_value_replaces_the_file_whole(world: World) -> None:
    """An open file keeps its old content to the end: the new one is another file."""
    world.run(spec("redis", "redis_password"))
    file = world.target / "redis" / "redis_password"
    with file.open("rb") as reader:
        world.write("redis_password", "rotated, and longer than before it was")
        assert world.run(spec("redis", "redis_password")) == 0
        assert reader.read() == b"value of redis_password"
    assert file.read_bytes() == b"rotated, and longer than before it was"
    assert contents(world.target / "redis").keys() == {"redis_password"}


@pytest.mark.parametrize("spoil", ["mode", "content", "link"])
def test_what_was_changed_there_is_put_right(world: World, spoil: str, tmp_path: Path) -> None:
    world.run(spec("redis", "redis_password"))
    folder = world.target / "redis"
    folder.chmod(0o700)
    file = folder / "redis_password"
    if spoil == "mode":
        file.chmod(0o444)
    elif spoil == "content":
        file.chmod(0o600)
        file.write_text("VALUE of redis_password", encoding="utf-8")
        file.chmod(0o400)
    else:
        (tmp_path / "elsewhere").write_text("untouched", encoding="utf-8")
        file.unlink()
        file.symlink_to(tmp_path / "elsewhere")
    assert world.run(spec("redis", "redis_password")) == 0
    assert file.read_bytes() == b"value of redis_password"
    assert not file.is_symlink()
    assert mode(file) == 0o400
    assert mode(folder) == 0o500
    if spoil == "link":
        assert (tmp_path / "elsewhere").read_text(encoding="utf-8") == "untouched"


def test_what_is_no_longer_listed_goes(world: World, capsys: Capture) -> None:
    world.run(spec("etl", "redis_password", "metrics_password"))
    (world.target / "etl").chmod(0o700)
    (world.target / "etl" / ".redis_password.0011.part").write_text("half", encoding="utf-8")
    capsys.readouterr()
    assert world.run(spec("etl", "metrics_password")) == 0
    assert contents(world.target / "etl").keys() == {"metrics_password"}
    assert capsys.readouterr().out == "etl: kept: metrics_password\netl: removed: redis_password\n"


@pytest.mark.parametrize("bits", [0o644, 0o640, 0o602, 0o601])
def test_a_source_that_is_open_to_others_is_refused_by_its_name_on_the_host(
    world: World, capsys: Capture, bits: int
) -> None:
    (world.source / "redis_password").chmod(bits)
    assert world.run(spec("redis", "redis_password"), spec("etl", "metrics_password")) == 2
    assert capsys.readouterr().err == (
        f"secrets: secrets/redis_password: is open to others on the host (mode {bits:04o}): "
        "chmod 600 secrets/redis_password\n"
    )
    # Nobody got anything: the stack does not start on half of its secrets.
    assert contents(world.target / "etl") == {}


def test_every_problem_of_the_sources_has_its_line(world: World, capsys: Capture) -> None:
    (world.source / "redis_password").unlink()
    world.write("metrics_password", " \n")
    world.write("prometheus_web.yml", "x" * 70_000)
    code = world.run(
        spec("redis", "redis_password"),
        spec("etl", "redis_password", "metrics_password", "prometheus_web.yml"),
    )
    assert code == 2
    assert capsys.readouterr().err.splitlines() == [
        "secrets: secrets/redis_password: is missing or not mounted, and redis, etl reads it: "
        "make it with `etlctl secrets init`",
        "secrets: secrets/metrics_password: is empty",
        "secrets: secrets/prometheus_web.yml: is larger than 65536 bytes",
    ]


def test_an_optional_secret_is_handed_out_where_there_is_one(world: World, capsys: Capture) -> None:
    world.write("alert_slack_url", "")
    wanted = spec("etl", "redis_password", optional=("alert_slack_url", "alert_webhook_url"))
    assert world.run(wanted) == 0
    assert contents(world.target / "etl").keys() == {"redis_password"}

    world.write("alert_slack_url", "https://hooks.example.com/x")
    assert world.run(wanted) == 0
    assert capsys.readouterr().err == ""
    assert contents(world.target / "etl").keys() == {"redis_password", "alert_slack_url"}

    world.write("alert_slack_url", "")
    assert world.run(wanted) == 0
    assert contents(world.target / "etl").keys() == {"redis_password"}


def test_a_consumer_without_volume_is_an_error(world: World, capsys: Capture) -> None:
    assert world.run(spec("grafana", "redis_password")) == 2
    assert capsys.readouterr().err == (
        f"secrets: {world.target}/grafana: is not there: mount grafana's volume on it\n"
    )


def test_a_folder_that_holds_directories_is_no_volume_of_secrets(
    world: World, capsys: Capture
) -> None:
    (world.target / "redis" / "appendonlydir").mkdir()
    (world.target / "redis" / "dump.rdb").write_text("data", encoding="utf-8")
    assert world.run(spec("redis", "redis_password")) == 2
    assert "appendonlydir: is a directory" in capsys.readouterr().err
    assert contents_of_files(world.target / "redis") == {"dump.rdb"}


def contents_of_files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_what_was_added_by_a_part_is_taken_away_without_it(world: World, capsys: Capture) -> None:
    listed = (spec("redis", "redis_password"), spec("etl", "redis_password"))
    more = spec("etl", "redis_password", "prometheus_web.yml", "metrics_password")
    assert world.run(listed[0], more) == 0
    assert contents(world.target / "etl").keys() == {
        *("redis_password", "prometheus_web.yml", "metrics_password")
    }
    assert world.run(*listed) == 0
    assert contents(world.target / "etl").keys() == {"redis_password"}
    assert "etl: removed: metrics_password, prometheus_web.yml" in capsys.readouterr().out


def test_it_needs_nothing_but_the_standard_library() -> None:
    """``-S``: no package that is installed can be imported."""
    ran = subprocess.run(
        [sys.executable, "-S", "-m", "deploy.image.secret_handout", "--help"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "--pipeline" in ran.stdout
