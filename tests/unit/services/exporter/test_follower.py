"""Following a log file: whatever happens to the files, each line is read once and in its order."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.exporter.follower import MISSING
from tests.support.followed_log import BACKUPS, FollowedLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FollowedLog]:
    log = FollowedLog(tmp_path)
    yield log
    log.follower.close()


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 60)),
        st.tuples(
            st.sampled_from(["poll", "rename", "copy_and_truncate", "truncate", "vanish"]),
            st.just(0),
        ),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(ACTIONS, st.sampled_from([3, 16, 4096]))
def test_any_chopping_rotation_and_truncation_gives_the_same_lines(
    actions: list[tuple[str, int]], chunk_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = FollowedLog(Path(folder), chunk_bytes=chunk_bytes)
        log.path.touch()
        unseen_rotations = 0
        for action, size in actions:
            if action == "write":
                log.write_piece(size)
                continue
            if action == "poll":
                log.poll()
                unseen_rotations = 0
                continue
            log.finish_line()
            if action in {"truncate", "vanish"} or unseen_rotations == BACKUPS:
                # What is thrown away unread cannot be known.
                log.poll()
                unseen_rotations = 0
            if action == "rename":
                log.rename()
                unseen_rotations += 1
            elif action == "copy_and_truncate":
                log.copy_and_truncate()
                unseen_rotations += 1
            elif action == "truncate":
                os.truncate(log.path, 0)
            else:
                log.path.unlink()
                log.poll()
                log.path.touch()
        log.finish_line()
        log.poll()
        log.follower.close()
        assert log.got == log.written
        assert not log.follower.skipped
        if not {"truncate", "vanish"} & {action for action, _ in actions}:
            assert log.follower.breaks == 0


@settings(max_examples=100, deadline=None)
@given(ACTIONS)
def test_a_new_follower_rebuilds_from_what_is_there(actions: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = FollowedLog(Path(folder))
        log.path.touch()
        rotations = 0
        for action, size in actions:
            if action == "write":
                log.write_piece(size)
            elif action in {"rename", "copy_and_truncate"} and rotations < BACKUPS:
                log.finish_line()
                getattr(log, action)()
                rotations += 1
        log.finish_line()
        log.poll()
        log.follower.close()
        assert log.got == log.written


def test_a_half_written_line_waits_for_its_end(log: FollowedLog) -> None:
    log.append(b"one\ntw")
    assert log.poll() == ["one"]
    assert log.poll() == []
    log.append(b"o\nthree\n")
    assert log.poll() == ["two", "three"]
    assert not log.follower.skipped


def test_what_cannot_be_used_is_counted_and_the_rest_goes_on(log: FollowedLog) -> None:
    log.append(b"one\nbad\n\n  \r\n\xff\x00bad\ntwo\r\n")
    assert log.poll() == ["one", "two\r"]
    assert log.follower.skipped == {"not_json": 2}
    assert log.follower.lines == 2


def test_half_a_line_at_the_end_of_a_rotated_file_is_counted(log: FollowedLog) -> None:
    log.append(b"one\nhalf a li")
    assert log.poll() == ["one"]
    log.rename()
    log.say("two")
    assert log.poll() == ["two"]
    assert log.follower.skipped == {"half_written": 1}


def test_a_whole_line_at_the_end_of_a_rotated_file_lacks_only_a_line_break(
    log: FollowedLog,
) -> None:
    log.append(b"one\nwhole")
    log.rename()
    log.say("two")
    assert log.poll() == ["one", "whole", "two"]
    assert not log.follower.skipped


def test_the_line_of_a_killed_writer_is_ended_by_the_next(log: FollowedLog) -> None:
    log.append(b"one\nhalf a li")
    assert log.poll() == ["one"]
    log.append(b"\ntwo\n")
    assert log.poll() == ["two"]
    assert log.follower.skipped == {"not_json": 1}


@pytest.mark.parametrize("polls_between", [False, True])
def test_a_huge_line_is_left_out_without_being_kept(log: FollowedLog, polls_between: bool) -> None:
    log.say("one")
    for _ in range(30):
        log.append(b"x" * 100)
        if polls_between:
            log.poll()
    log.append(b"\ntwo\n")
    log.poll()
    assert log.got == [b"one", b"two"]
    assert log.follower.skipped == {"too_long": 1}


def test_a_line_as_long_as_may_be(log: FollowedLog) -> None:
    log.append(b"y" * 1000 + b"\n" + b"z" * 1001 + b"\n")
    assert log.poll() == ["y" * 1000]
    assert log.follower.skipped == {"too_long": 1}


def test_a_huge_line_that_ends_with_its_file(log: FollowedLog) -> None:
    log.append(b"x" * 5000)
    assert log.poll() == []
    log.rename()
    log.say("one")
    assert log.poll() == ["one"]
    assert log.follower.skipped == {"too_long": 1}


def test_several_rotations_between_two_polls_lose_nothing(log: FollowedLog) -> None:
    log.say("1")
    log.poll()
    for number in range(2, 6):
        log.say(f"{number}a")
        (log.rename if number % 2 else log.copy_and_truncate)()
        log.say(f"{number}b")
    assert log.poll() == ["2a", "2b", "3a", "3b", "4a", "4b", "5a", "5b"]


@pytest.mark.parametrize("rotate", [FollowedLog.rename, FollowedLog.copy_and_truncate])
def test_more_rotations_than_there_are_backups_are_told(
    log: FollowedLog, rotate: Callable[[FollowedLog], None]
) -> None:
    log.say("seen")
    log.poll()
    for number in range(BACKUPS + 2):
        log.say(f"{number}")
        rotate(log)
    log.say("last")
    # "0" followed "seen" in a file that is gone, but a renamed one that we hold can still be read.
    assert set(log.poll()) - {"0"} == {"2", "3", "4", "5", "6", "last"}
    assert log.follower.breaks == 1
    log.say("more")
    rotate(log)
    assert log.poll() == ["more"]
    assert log.follower.breaks == 1


def test_as_many_rotations_as_there_are_backups_are_no_break(log: FollowedLog) -> None:
    log.say("seen")
    log.poll()
    for number in range(BACKUPS):
        log.rename()
        log.say(f"{number}")
    assert log.poll() == ["0", "1", "2", "3", "4"]
    assert log.follower.breaks == 0


def test_a_file_truncated_without_a_copy_is_a_break(log: FollowedLog) -> None:
    log.say("seen")
    log.poll()
    log.say("never seen")
    os.truncate(log.path, 0)
    log.say("new")
    assert log.poll() == ["new"]
    assert log.follower.breaks == 1


def test_a_truncated_file_that_has_outgrown_its_old_size_is_noticed(log: FollowedLog) -> None:
    log.say("one")
    assert log.poll() == ["one"]
    os.truncate(log.path, 0)
    log.say("two", "three", "four")
    assert log.poll() == ["two", "three", "four"]
    assert log.follower.begun == {"found": 1, "truncated": 1}


def test_a_copied_file_that_begins_like_its_successor(log: FollowedLog) -> None:
    log.append(b"line ")
    assert log.poll() == []
    log.append(b"one\n")
    log.copy_and_truncate()
    log.say("line two")
    assert log.poll() == ["line one", "line two"]


def test_what_a_writer_adds_to_a_file_already_renamed_is_read(log: FollowedLog) -> None:
    log.say("one")
    with log.path.open("ab") as file:
        log.rename()
        assert log.poll() == ["one"]
        file.write(b"late\n")
    assert log.poll() == ["late"]
    log.say("two")
    assert log.poll() == ["two"]


def test_the_rest_of_a_renamed_file_is_read_before_a_new_one_is_there(log: FollowedLog) -> None:
    log.say("one")
    log.poll()
    log.say("two")
    log.path.rename(log.shift())
    assert log.poll() == ["two"]
    assert log.follower.problem == MISSING
    log.say("three")
    assert log.poll() == ["three"]
    assert log.follower.problem is None


def test_a_removed_file_is_read_to_its_end(log: FollowedLog) -> None:
    log.say("one")
    log.poll()
    log.say("two")
    log.path.unlink()
    log.say("three")
    assert log.poll() == ["two", "three"]


def test_a_file_that_is_replaced_by_an_unrelated_one(log: FollowedLog, tmp_path: Path) -> None:
    log.say("one")
    log.poll()
    other = tmp_path / "other"
    other.write_bytes(b"two\nthree\n")
    other.rename(log.path)
    assert log.poll() == ["two", "three"]
    assert log.follower.begun == {"found": 1, "replaced": 1}
