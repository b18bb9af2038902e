"""Writes the lines of the simulated ETL process: to a rotated file and to stdout."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TextIO

from common.errors import ConfigError
from common.runtime.etl_log import EtlLine
from common.runtime.logs import PrivateRotatingFile


class LogWriter:
    """Writes each line to the file and, from ``stdout_level`` on, to ``stdout``.

    A file that cannot be written (a full disk, say) is no reason to end: ``problem`` then holds
    why, until a line goes through again.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        max_bytes: int,
        backups: int,
        stdout: TextIO,
        stdout_level: int,
    ) -> None:
        """Open ``path`` and append to what it holds; None writes to ``stdout`` alone.

        The file is rotated before it would reach ``max_bytes``, and ``backups`` old ones are kept.
        Raises :class:`ConfigError` if the file cannot be written.
        """
        self.problem: str | None = None
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._stdout = stdout
        self._stdout_level = stdout_level
        self._handler: _Handler | None = None
        if path is not None:
            try:
                self._handler = self._open(path)
            except OSError as error:
                raise ConfigError(
                    "simulator: SIMULATOR_ETL_LOG_FILE (--etl-log-file):"
                    f" cannot write {path}: {error.strerror}"
                ) from error

    def write(self, line: EtlLine) -> None:
        """Write one line."""
        text = json.dumps(line, ensure_ascii=False)
        if logging.getLevelName(line["level"].upper()) >= self._stdout_level:
            self._stdout.write(text + "\n")
            self._stdout.flush()
        if self._path is not None:
            try:
                if self._handler is None:
                    self._handler = self._open(self._path)
                self._handler.emit(logging.makeLogRecord({"msg": text}))
                self.problem = None
            except OSError as error:
                self.problem = error.strerror or str(error)
                # Who knows what has arrived of it: the next line opens the file anew.
                self.close()

    def close(self) -> None:
        """Close the file."""
        handler, self._handler = self._handler, None
        if handler is not None:
            try:
                handler.close()
            except OSError as error:
                self.problem = error.strerror or str(error)

    def _open(self, path: Path) -> _Handler:
        path.parent.mkdir(parents=True, exist_ok=True)
        _end_last_line(path)
        return _Handler(path, maxBytes=self._max_bytes, backupCount=self._backups, encoding="utf-8")


class _Handler(PrivateRotatingFile):
    def handleError(self, record: logging.LogRecord) -> None:
        """Called while an exception is handled: the default would print it and go on."""
        raise  # noqa: PLE0704


def _end_last_line(path: Path) -> None:
    """A process that was killed while it wrote has left half a line, which must not grow."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
    with open(descriptor, "ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
