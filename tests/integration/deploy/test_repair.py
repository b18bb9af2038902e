"""deploy/redis/repair.sh on append-only files that real servers left."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT
from devtools.servers.binaries import Toolbox
from tests.support.full_disk import FullDiskRedis

SCRIPT = "for _, key in ipairs({'a', 'b', 'c'}) do redis.call('INCR', key) end"


@pytest.fixture
def server(toolbox: Toolbox, tmp_path: Path, log_dir: Path) -> Iterator[FullDiskRedis]:
    """A started Redis of the test's own, whose file has a base and an increment."""
    with FullDiskRedis(toolbox, tmp_path / "redis", name="redis-repair", log_dir=log_dir) as server:
        with server.client() as client:
            client.set("old", "x" * 20_000)
            client.bgrewriteaof()
        assert server.await_rewrite() == "ok"
        yield server


def repair(server: FullDiskRedis, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the script as start.sh does."""
    programs = server.environment()
    folder = Path(server.command()[4]).parent
    programs["PATH"] = path or f"{folder}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["/bin/sh", PROJECT_ROOT / "deploy/redis/repair.sh", server.append_only_dir],
        env=programs,
        capture_output=True,
        text=True,
        check=False,
    )


def copies(server: FullDiskRedis) -> list[Path]:
    return sorted(server.append_only_dir.parent.glob("damaged-*"))


def damage_by_a_full_disk(server: FullDiskRedis) -> None:
    """Half a command, and behind it most of what the file holds."""
    with server.client() as client:
        client.set("before", "kept")
        server.fill_disk()
        server.make_room()
        for number in range(40):
            client.set(f"after{number}", "x" * 500)
    server.stop()


def test_nothing_is_done_to_a_file_that_is_whole(server: FullDiskRedis) -> None:
    server.stop()
    before = server.increments.read_bytes()

    done = repair(server)

    assert done.returncode == 0
    assert done.stdout == "repair.sh: checking the append-only file\n"
    assert server.increments.read_bytes() == before
    assert copies(server) == []


def test_nothing_is_said_where_there_is_no_file_yet(server: FullDiskRedis) -> None:
    server.stop()
    shutil.rmtree(server.append_only_dir)

    done = repair(server)

    assert (done.returncode, done.stdout) == (0, "")


def test_a_torn_tail_is_cut_away(server: FullDiskRedis) -> None:
    with server.client() as client:
        client.set("new", "x" * 5_000)
        for _ in range(3):
            client.eval(SCRIPT, 0)
    server.stop()
    content = server.increments.read_bytes()
    cut = content.rindex(b"INCR", 0, content.rindex(b"INCR"))  # within the second of three
    server.increments.write_bytes(content[: cut + 2])

    done = repair(server)

    assert done.returncode == 0
    assert "torn tail" in done.stdout
    assert copies(server) == []
    server.start()
    with server.client() as client:
        assert client.mget("a", "b", "c") == [b"2", b"2", b"2"]
        client.eval(SCRIPT, 0)
    server.stop()
    assert repair(server).returncode == 0
    server.start()
    with server.client() as client:
        assert client.mget("a", "b", "c") == [b"3", b"3", b"3"]


def test_more_than_a_tail_is_kept_whole_before_it_is_cut(server: FullDiskRedis) -> None:
    damage_by_a_full_disk(server)
    names = {file.name for file in server.append_only_dir.iterdir()}
    damaged = server.increments.read_bytes()

    done = repair(server)

    assert done.returncode == 0, done.stdout
    (copy,) = copies(server)
    (warning,) = (line for line in done.stdout.splitlines() if "WARNING" in line)
    said = re.search(r"(\d+) of (\d+) bytes", warning)
    assert said
    assert int(said[2]) == len(damaged)
    assert int(said[1]) == len(damaged) - server.increments.stat().st_size
    assert str(copy) in warning
    assert {file.name for file in copy.iterdir()} == names
    assert (copy / server.increments.name).read_bytes() == damaged
    server.start()
    with server.client() as client:
        assert client.exists("old", "before", "after0") == 2
        client.bgrewriteaof()  # what the extractor requests; the copy outlives it
    assert server.await_rewrite() == "ok"
    assert {file.name for file in copy.iterdir()} == names
    server.stop()
    assert repair(server).stdout.count("\n") == 1


def test_without_a_copy_nothing_is_cut(server: FullDiskRedis, tmp_path: Path) -> None:
    damage_by_a_full_disk(server)
    damaged = server.increments.read_bytes()
    # A disk without room, as the script sees it.
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "cp").write_text("#!/bin/sh\necho 'cp: No space left on device' >&2\nexit 1\n")
    (tools / "cp").chmod(0o755)
    folder = Path(server.command()[4]).parent

    done = repair(server, os.pathsep.join([str(tools), str(folder), os.environ["PATH"]]))

    assert done.returncode == 1
    assert "ERROR" in done.stdout
    assert "not repaired" in done.stdout
    assert server.increments.read_bytes() == damaged
    assert copies(server) == []


def test_what_cannot_be_repaired_leaves_no_copy_at_each_start(server: FullDiskRedis) -> None:
    server.stop()
    (base,) = server.append_only_dir.glob("*.base.rdb")
    base.write_bytes(base.read_bytes()[:-100])

    for _ in range(2):
        done = repair(server)
        assert done.returncode == 1
        assert "cannot be repaired" in done.stdout
    assert copies(server) == []
