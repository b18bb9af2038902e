"""A backup has its name only when it is whole, and only what is whole is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import EtlError
from etlctl.backup.folder import (
    CHECKSUMS,
    FORMAT,
    MANIFEST,
    Manifest,
    check_files,
    digest_of,
    finish,
    new_backup,
    read_backup,
)


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A whole backup of namespace ``etl``."""
    target = tmp_path / "backup"
    with new_backup(target) as folder:
        (folder / "redis").mkdir()
        (folder / "redis" / "keys.bin").write_bytes(b"state")
        finish(folder, Manifest("etl", "2026-01-02T03:04:05Z", "1.2", {"redis": {"keys": 1}}))
    return target


def nothing(_: int) -> None:
    pass


def names(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


def test_a_whole_backup_is_read_and_only_for_its_owner(backup: Path) -> None:
    check_files(backup, nothing)
    assert read_backup(backup, "etl").parts == {"redis": {"keys": 1}}
    assert backup.stat().st_mode & 0o077 == 0
    assert names(backup.parent) == {"backup"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), EtlError("x"), SystemExit(1)])
def test_an_interrupted_backup_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fail() -> None:
        with new_backup(tmp_path / "backup") as folder:
            (folder / "half").write_text("x")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert names(tmp_path) == set()


def test_a_disk_that_is_full_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(EtlError, match=r"backup: cannot be written: No space left on device"),
        new_backup(tmp_path / "backup"),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_an_empty_folder_is_filled_and_any_other_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "backup"
    target.mkdir()
    with new_backup(target) as folder:
        (folder / "one").write_text("x")
    assert names(target) == {"one"}
    with pytest.raises(EtlError, match="is not empty"), new_backup(target):
        pass
    with pytest.raises(EtlError, match="is no folder"), new_backup(target / "one"):
        pass
    with pytest.raises(EtlError, match="cannot be written: No such file"):  # noqa: SIM117
        with new_backup(tmp_path / "none" / "backup"):
            pass


def test_what_appeared_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "backup"

    def meanwhile() -> None:
        with new_backup(target):
            target.mkdir()
            (target / "other").write_text("x")

    with pytest.raises(EtlError, match="is not empty"):
        meanwhile()
    assert names(tmp_path) == {"backup"}


def test_every_file_that_is_not_as_it_was_is_named(backup: Path) -> None:
    (backup / "redis" / "keys.bin").write_bytes(b"stale")
    (backup / "redis" / "more").write_text("x")
    with pytest.raises(EtlError) as raised:
        check_files(backup, nothing)
    altered, stranger = str(raised.value).splitlines()
    assert altered.endswith(f"redis/keys.bin: was altered: its SHA-256 is not that of {CHECKSUMS}")
    assert stranger.endswith(f"redis/more: is not listed in {CHECKSUMS}")
    (backup / "redis" / "keys.bin").unlink()
    with pytest.raises(EtlError, match=r"keys\.bin: cannot be read: No such file"):
        check_files(backup, nothing)


@pytest.mark.parametrize("line", ["0" * 64 + "  ../../etc/passwd", "0" * 64 + "  /x", "nonsense"])
def test_a_list_that_leads_elsewhere_is_refused(backup: Path, line: str) -> None:
    (backup / CHECKSUMS).write_text(f"{line}\n")
    with pytest.raises(EtlError, match=f"{CHECKSUMS}:1: is not a checksum"):
        check_files(backup, nothing)


def test_what_is_no_whole_backup_of_ours_is_refused(backup: Path) -> None:
    with pytest.raises(EtlError, match="there is no such folder"):
        read_backup(backup / "none", "etl")
    with pytest.raises(EtlError, match=r"of the Redis namespace 'etl'.*is 'other'"):
        read_backup(backup, "other")
    document = json.loads((backup / MANIFEST).read_text())
    (backup / MANIFEST).write_text(json.dumps(document | {"format": FORMAT + 1, "new": 1}))
    with pytest.raises(EtlError, match=r"was made by etlctl 1\.2 in format 2"):
        read_backup(backup, "etl")
    for broken in ("{", "[]", "{}", json.dumps(document | {"parts": 1})):
        (backup / MANIFEST).write_text(broken)
        with pytest.raises(EtlError, match=r"manifest\.json: cannot be read"):
            read_backup(backup, "etl")
    (backup / CHECKSUMS).unlink()
    with pytest.raises(EtlError, match="is no whole backup"):
        read_backup(backup, "etl")


def test_a_digest_is_that_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert digest_of(tmp_path / "x").startswith("ba7816bf8f01cfea")
