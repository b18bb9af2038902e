"""Notices that etl.yaml says something else, and has the service begin again with it.

A valid file ends the service as SIGTERM does, and its process then executes itself: no part of it
ever works under half of a configuration, and there is no second way to come up. A file that is not
valid is refused: what is in force stays.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from common.config import Settings, file_digest
from common.errors import ConfigError
from common.runtime.telemetry import Telemetry

POLL_SECONDS = 2.5
# Of `pipeline`: under another of these the process would be another one. Who watches it asks at its
# port, its leases are in its Redis, and a log file that cannot be opened would end it.
FIXED = ("redis_url", "redis_namespace", "shard", "http_host", "http_port", "log_file")

# Of a file: when it was written, which one it is, its size; None if there is none.
_Stamp = tuple[int, int, int] | None


class ConfigFile:
    """The file, and what of it is in force. Raises :class:`ConfigError` when it is not valid.

    ``read`` gives the settings as the file has them now, or raises :class:`ConfigError`.
    """

    def __init__(self, path: Path, read: Callable[[], Settings]) -> None:
        self.path, self.read = path, read
        # Before the settings: what is written meanwhile is then noticed.
        self.stamp, self.digest = stamp_of(path), file_digest(path)
        self.settings = read()


class ConfigWatch:
    """Looks at the file now and then, and when it is asked to.

    ``begin_again`` is called once, when the file is valid and says something else. ``digest`` names
    the content that is in force, ``content`` what was read last, ``refused`` why that is not in
    force; all may be read by any thread.
    """

    def __init__(
        self,
        file: ConfigFile,
        telemetry: Telemetry,
        begin_again: Callable[[], None],
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._file, self._telemetry = file, telemetry
        self._begin_again, self._wall = begin_again, wall
        self._asked = threading.Event()
        self.digest = self.content = file.digest
        self.refused = ""
        # The file as it was seen last, and as it was read last.
        self._seen = self._read = file.stamp
        self._show(ok=True)

    def ask(self) -> None:
        """Have the file read at once, whether it looks changed or not."""
        self._asked.set()

    def run(self, stop: threading.Event) -> None:
        """Look until ``stop`` is set."""
        while not stop.is_set():
            asked = self._asked.wait(POLL_SECONDS)
            self._asked.clear()
            if not stop.is_set():
                self.look(asked)

    def look(self, asked: bool = False) -> None:
        """Read the file if it has changed and was left alone since the last look, or if ``asked``.

        A file that is being written may be valid, and lack half of its queries.
        """
        stamp = stamp_of(self._file.path)
        steady, self._seen = stamp == self._seen, stamp
        if not asked and (stamp == self._read or not steady):
            return
        self._read = stamp
        content = file_digest(self._file.path)
        if not asked and content == self.content:
            return
        self.content = content
        try:
            settings = self._file.read()
            _check_same_process(self._file.settings, settings)
        except ConfigError as error:
            self._refuse(str(error))
            return
        self.refused = ""
        self._show(ok=True)
        if settings == self._file.settings:
            self.digest = content
            self._telemetry.emit("config_unchanged", file=str(self._file.path), digest=content)
            return
        self._telemetry.emit("config_changed", file=str(self._file.path), digest=content)
        self._begin_again()

    def _refuse(self, why: str) -> None:
        self._show(ok=False)
        if why != self.refused:
            self.refused = why
            self._telemetry.emit("config_refused", file=str(self._file.path), error=why)

    def _show(self, ok: bool) -> None:
        self._telemetry.set("etl_config_last_reload_successful", float(ok))
        if ok:
            self._telemetry.set(
                "etl_config_last_reload_success_timestamp_seconds", round(self._wall(), 3)
            )


def stamp_of(path: Path) -> _Stamp:
    """What changes when the file is written or replaced."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _check_same_process(before: Settings, after: Settings) -> None:
    changed = [
        f"pipeline.{name}: was changed, which needs a restart"
        for name in FIXED
        if getattr(before.pipeline, name) != getattr(after.pipeline, name)
    ]
    if changed:
        raise ConfigError(*changed)
