"""Grafana's database: SQLite, copied by SQLite, so that it is whole while Grafana runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from common.errors import EtlError
from etlctl.backup.files import copy_file, give_like, remove
from etlctl.backup.parts import Moved, Saved, Skipped, count_of

DATABASE = "grafana.db"

_BUSY_SECONDS = 30.0


class GrafanaDatabase:
    """``data_dir`` is Grafana's data directory as we see it; None = we do not."""

    name = "grafana"

    def __init__(self, data_dir: Path | None) -> None:
        self._data_dir = data_dir

    def save(self, folder: Path, moved: Moved) -> Saved:
        """Raises :class:`EtlError` where the directory has no database that can be read."""
        source = self._folder() / DATABASE
        if not source.is_file():
            raise EtlError(f"--grafana-data {source.parent}: has no {DATABASE}")
        copy = folder / DATABASE
        try:
            with (
                closing(
                    sqlite3.connect(
                        f"{source.absolute().as_uri()}?mode=ro", _BUSY_SECONDS, uri=True
                    )
                ) as read,
                closing(sqlite3.connect(copy)) as written,
            ):
                read.backup(written)
                (dashboards,) = written.execute("SELECT count(*) FROM dashboard").fetchone()
        except sqlite3.Error as error:
            raise EtlError(f"{source}: cannot be read as Grafana's database: {error}") from None
        moved(copy.stat().st_size)
        return Saved(f"its database, with {count_of(dashboards, 'dashboard')}", {})

    def check(self, folder: Path, known: Mapping[str, Any]) -> None:
        """Raises :class:`EtlError` where the directory is missing or has a database."""
        del folder, known
        target = self._folder()
        if not target.is_dir():
            raise EtlError(f"--grafana-data {target}: there is no such folder")
        if (target / DATABASE).exists():
            raise EtlError(
                f"--grafana-data {target}: is not empty: it has {DATABASE}; stop Grafana and move "
                "it away"
            )

    def restore(self, folder: Path, known: Mapping[str, Any], moved: Moved) -> str:
        """Grafana must not run."""
        del known
        target = self._folder()
        copy_file(folder / DATABASE, target / DATABASE, moved)
        try:
            give_like(target, [DATABASE])
        except BaseException:
            remove(target / DATABASE)
            raise
        return "its database"

    def _folder(self) -> Path:
        if self._data_dir is None:
            raise Skipped("name its data directory with --grafana-data DIR")
        return self._data_dir
