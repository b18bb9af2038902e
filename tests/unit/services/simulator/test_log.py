"""The log of the simulated process on disk: rotated, appended to, and never half a line longer."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from common.errors import ConfigError
from common.runtime.etl_log import EtlLine
from services.simulator.log_writer import LogWriter
from tests.support.simulator_world import World


def writer(path: Path | None, **options: Any) -> LogWriter:
    usual: dict[str, Any] = {
        "max_bytes": 4096,
        "backups": 2,
        "stdout": io.StringIO(),
        "stdout_level": logging.INFO,
    }
    return LogWriter(path, **(usual | options))


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def problem_after(log: LogWriter, line: EtlLine) -> str | None:
    log.write(line)
    return log.problem


@pytest.fixture
def lines() -> list[EtlLine]:
    world = World()
    world.run(600)
    return world.lines


def test_writes_each_line_as_json(tmp_path: Path, lines: list[EtlLine]) -> None:
    path = tmp_path / "new" / "folder" / "etl.jsonl"
    log = writer(path, max_bytes=10**9)
    for line in lines:
        log.write(line)
    log.close()
    assert lines_of(path) == lines
    assert path.read_bytes().endswith(b"}\n")
    assert log.problem is None


def test_its_files_are_nobody_elses_to_read(tmp_path: Path, lines: list[EtlLine]) -> None:
    mask = os.umask(0)
    try:
        log = writer(tmp_path / "etl.jsonl")
        for line in lines:
            log.write(line)
        log.close()
    finally:
        os.umask(mask)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("etl.jsonl", "etl.jsonl.1", "etl.jsonl.2"), 0o640)


def test_rotates_by_size_and_keeps_so_many(tmp_path: Path, lines: list[EtlLine]) -> None:
    path = tmp_path / "etl.jsonl"
    log = writer(path)
    for line in lines:
        log.write(line)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["etl.jsonl", "etl.jsonl.1", "etl.jsonl.2"]
    assert all(0 < file.stat().st_size <= 4096 for file in files)
    # What is there is the end of the log, without a hole, each file whole lines.
    left = [line for file in reversed(files) for line in lines_of(file)]
    assert 10 < len(left) < len(lines)
    assert left == lines[-len(left) :]


def test_a_restart_appends(tmp_path: Path, lines: list[EtlLine]) -> None:
    path = tmp_path / "etl.jsonl"
    for line in lines[:3]:
        log = writer(path)
        log.write(line)
        log.close()
    assert lines_of(path) == lines[:3]


def test_half_a_line_that_a_kill_left_stays_alone(tmp_path: Path, lines: list[EtlLine]) -> None:
    path = tmp_path / "etl.jsonl"
    path.write_text('{"whole": 1}\n{"timestamp": "2027-01', encoding="utf-8")
    log = writer(path)
    log.write(lines[0])
    log.close()
    whole, half, new = path.read_text(encoding="utf-8").splitlines()
    assert (whole, half) == ('{"whole": 1}', '{"timestamp": "2027-01')
    assert json.loads(new) == lines[0]


def test_stdout_gets_what_its_level_lets_through(lines: list[EtlLine]) -> None:
    for level in (logging.DEBUG, logging.INFO, logging.ERROR):
        stdout = io.StringIO()
        log = writer(None, stdout=stdout, stdout_level=level)
        for line in lines:
            log.write(line)
        log.close()
        expected = [line for line in lines if logging.getLevelName(line["level"].upper()) >= level]
        assert expected
        assert [json.loads(text) for text in stdout.getvalue().splitlines()] == expected


def test_a_file_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path, why in (
        (tmp_path / "file" / "etl.jsonl", "File exists"),
        (tmp_path / "folder", "Is a directory"),
        (Path("/proc/etl.jsonl"), "No such file or directory"),
    ):
        with pytest.raises(ConfigError, match=r"SIMULATOR_ETL_LOG_FILE .*cannot write") as caught:
            writer(path)
        (problem,) = caught.value.problems
        assert str(path) in problem
        assert why in problem


def test_a_full_disk_is_told_and_does_no_more_harm(lines: list[EtlLine]) -> None:
    log = writer(Path("/dev/full"))
    for line in lines[:3]:
        log.write(line)
        assert log.problem == "No space left on device"
    log.close()


def test_after_the_trouble_it_goes_on_where_it_was(tmp_path: Path, lines: list[EtlLine]) -> None:
    path = tmp_path / "etl.jsonl"
    log = writer(path, max_bytes=10**9)
    log.write(lines[0])
    # Something in its place that takes no line: a folder.
    log.close()
    os.rename(path, tmp_path / "aside")
    path.mkdir()
    assert problem_after(log, lines[1]) == "Is a directory"
    path.rmdir()
    os.rename(tmp_path / "aside", path)
    assert problem_after(log, lines[2]) is None
    log.close()
    assert lines_of(path) == [lines[0], lines[2]]


def test_a_rotation_that_fails_is_told(
    tmp_path: Path, lines: list[EtlLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "etl.jsonl"
    log = writer(path)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuse)
        problems = [problem_after(log, line) for line in lines[:20]]
    assert problems[-1] == "Read-only file system"
    assert problem_after(log, lines[20]) is None
    log.close()
    assert lines_of(path)[-1] == lines[20]
