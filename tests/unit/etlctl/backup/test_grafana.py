"""Grafana's database is copied whole, while somebody writes to it, and never over another."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from common.errors import EtlError
from etlctl.backup.grafana import DATABASE, GrafanaDatabase
from etlctl.backup.parts import Skipped


def nothing(_: int) -> None:
    pass


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Grafana's, with a connection that has written something it has not committed; a backup's."""
    grafana, saved = tmp_path / "grafana", tmp_path / "saved"
    grafana.mkdir()
    saved.mkdir()
    with closing(sqlite3.connect(grafana / DATABASE)) as database:
        database.execute("CREATE TABLE dashboard (title TEXT)")
        database.execute("INSERT INTO dashboard VALUES ('mine')")
        database.commit()
        database.execute("INSERT INTO dashboard VALUES ('half')")
        yield grafana, saved


def test_what_is_committed_is_saved_and_restored(folders: tuple[Path, Path]) -> None:
    grafana, saved = folders
    assert GrafanaDatabase(grafana).save(saved, nothing).said == "its database, with 1 dashboard"
    (target := saved.parent / "new").mkdir()
    restoring = GrafanaDatabase(target)
    restoring.check(saved, {})
    restoring.restore(saved, {}, nothing)
    with closing(sqlite3.connect(target / DATABASE)) as database:
        assert database.execute("SELECT title FROM dashboard").fetchall() == [("mine",)]


def test_another_database_is_left_alone(folders: tuple[Path, Path]) -> None:
    grafana, saved = folders
    with pytest.raises(EtlError, match=r"is not empty: it has grafana\.db; stop Grafana"):
        GrafanaDatabase(grafana).check(saved, {})
    (saved / DATABASE).write_bytes(b"new")
    before = (grafana / DATABASE).read_bytes()
    with pytest.raises(FileExistsError):
        GrafanaDatabase(grafana).restore(saved, {}, nothing)
    assert (grafana / DATABASE).read_bytes() == before


def test_what_is_no_directory_of_grafana_is_one_sentence(folders: tuple[Path, Path]) -> None:
    grafana, saved = folders
    with pytest.raises(EtlError, match=r"has no grafana\.db"):
        GrafanaDatabase(saved).save(saved, nothing)
    with pytest.raises(EtlError, match="there is no such folder"):
        GrafanaDatabase(grafana / "none").check(saved, {})
    (other := saved / "other").mkdir()
    (other / DATABASE).write_bytes(b"no database at all" * 100)
    with pytest.raises(EtlError, match="cannot be read as Grafana's database"):
        GrafanaDatabase(other).save(saved, nothing)
    with pytest.raises(Skipped, match="--grafana-data"):
        GrafanaDatabase(None).save(saved, nothing)
