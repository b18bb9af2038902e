"""A file appears whole, and only a file is replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from etlctl.whole_file import whole_file


def test_a_file_is_replaced_when_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "etl.yaml"
    file.write_text("old")
    with whole_file(file, replace=True) as opened:
        opened.write(b"new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["etl.yaml"]


def test_without_replace_what_is_there_stays(tmp_path: Path) -> None:
    file = tmp_path / "etl.yaml"
    file.write_text("old")
    with pytest.raises(FileExistsError), whole_file(file, replace=False) as opened:
        opened.write(b"new")
    assert file.read_text() == "old"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Whoever runs as root and names /dev/null would take it from the whole machine."""
    there = tmp_path / "there"
    make(there)
    before = there.stat()
    with pytest.raises(OSError, match="no regular file"), whole_file(there, replace=True):
        pytest.fail("nothing is to be written")
    assert there.stat() == before
    assert list(tmp_path.iterdir()) == [there]
