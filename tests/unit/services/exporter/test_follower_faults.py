"""Following a log file that is missing, unreadable or something else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.exporter.follower import DENIED, IO_ERROR, MISSING, NOT_A_FILE, Follower
from tests.support.followed_log import FollowedLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FollowedLog]:
    log = FollowedLog(tmp_path)
    yield log
    log.follower.close()


def test_a_missing_file_is_counted_once_and_waited_for(log: FollowedLog) -> None:
    assert log.poll() == []
    assert log.poll() == []
    assert (log.follower.problem, log.follower.failures) == (MISSING, {MISSING: 1})
    log.say("one")
    assert log.poll() == ["one"]
    log.path.unlink()
    log.poll()
    assert log.follower.failures == {MISSING: 2}


def test_a_missing_folder_is_a_missing_file(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "no" / "log", lambda line: None)
    follower.poll()
    assert follower.problem == MISSING
    (tmp_path / "no").write_text("a file")
    follower.poll()
    assert follower.problem == MISSING


def test_a_file_that_may_not_be_read(log: FollowedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, *_: object) -> int:
        raise PermissionError(13, "Permission denied", path)

    log.say("one")
    with monkeypatch.context() as patch:
        patch.setattr("services.exporter.follower.os.open", refuse)
        assert log.poll() == []
        assert (log.follower.problem, log.follower.failures[DENIED]) == (DENIED, 1)
    assert log.poll() == ["one"]
    assert log.follower.problem is None


def test_a_file_that_cannot_be_read_any_more(
    log: FollowedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    log.say("one")
    with monkeypatch.context() as patch:
        patch.setattr("services.exporter.follower.os.pread", fail)
        assert log.poll() == []
        assert log.follower.problem == IO_ERROR
    assert log.poll() == ["one"]
    assert log.follower.problem is None


def test_a_folder_or_pipe_in_the_files_place_does_not_block(log: FollowedLog) -> None:
    log.path.mkdir()
    log.poll()
    assert log.follower.problem == NOT_A_FILE
    log.path.rmdir()
    os.mkfifo(log.path)
    log.poll()
    assert log.follower.problem == NOT_A_FILE


def test_an_odd_backup_does_not_hide_the_others(log: FollowedLog) -> None:
    log.say("one")
    log.rename()
    log.rename()
    log.path.with_name("etl.jsonl.1").unlink()
    log.path.with_name("etl.jsonl.1").mkdir()
    log.say("two")
    assert log.poll() == ["one", "two"]
    assert log.follower.failures == {NOT_A_FILE: 1}


def test_other_names_are_not_backups(log: FollowedLog) -> None:
    for name in ("etl.jsonl.gz", "etl.jsonl.1.gz", "etl.jsonl.0", "etl.jsonl.x", "etl.jsonl.100"):
        log.path.with_name(name).write_bytes(b"not ours\n")
    log.say("one")
    assert log.poll() == ["one"]


def test_a_long_reading_can_be_stopped(log: FollowedLog) -> None:
    log.say(*map(str, range(1000)))
    asked = iter([True] * 5)
    log.follower.poll(lambda: next(asked, False))
    assert 0 < len(log.got) < 1000
    log.poll()
    assert log.got == [str(number).encode() for number in range(1000)]


def test_no_descriptor_is_left_open(log: FollowedLog) -> None:
    descriptors = Path("/proc/self/fd")
    log.say("one")
    log.poll()
    before = len(list(descriptors.iterdir()))
    for number in range(20):
        log.say(str(number))
        (log.rename if number % 2 else log.copy_and_truncate)()
        log.poll()
    log.path.unlink()
    log.poll()
    assert len(list(descriptors.iterdir())) == before
