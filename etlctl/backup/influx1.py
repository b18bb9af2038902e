"""InfluxDB 1.x: ``influxd backup -portable`` and ``influxd restore -portable``.

It is the server's own program that speaks to the server's own port for it (``bind-address`` of
influxdb.conf, which asks for no password):
https://docs.influxdata.com/influxdb/v1/administration/backup_and_restore/
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import SinkError
from common.failure_text import plain_text
from common.sink.http_session import SinkSession
from etlctl.backup.folder import size_bytes
from etlctl.backup.influx import asked
from etlctl.backup.parts import Moved, Saved, count_of

RPC_PORT = 8088

_LOOK_SECONDS = 0.5
_CONNECT_SECONDS = 5.0


class Influx1:
    """Databases, each in a folder of its own. ``address`` is host:port of influxd's own port."""

    name = "influxdb"

    def __init__(
        self, session: SinkSession, databases: Sequence[str], *, program: str, address: str
    ) -> None:
        self._session = session
        self._databases = list(dict.fromkeys(databases))
        self._program = program
        self._address = address

    def save(self, folder: Path, moved: Moved) -> Saved:
        """Raises :class:`SinkError` with influxd's own words."""
        self._refuse_away()
        for number, database in enumerate(self._databases):
            into = folder / str(number)
            into.mkdir()
            self._run("backup", database, into, moved)
        known = {"databases": self._databases}
        return Saved(f"{count_of(len(self._databases), 'database')} of InfluxDB 1.x", known)

    def check(self, folder: Path, known: Mapping[str, Any]) -> None:
        """Raises :class:`SinkError` where one of the databases exists, or influxd is missing."""
        del folder
        self._found_program()
        self._refuse_away()
        existing = self._existing()
        for database in known["databases"]:
            if database in existing:
                raise SinkError(
                    f"InfluxDB has a database {database!r} already: influxd restores only into one "
                    f'that does not exist (DROP DATABASE "{database}" if nothing in it is needed)'
                )

    def restore(self, folder: Path, known: Mapping[str, Any], moved: Moved) -> str:
        """Raises :class:`SinkError` with influxd's own words."""
        for number, database in enumerate(known["databases"]):
            self._run("restore", database, folder / str(number), moved)
        return f"{count_of(len(known['databases']), 'database')} of InfluxDB 1.x"

    def _run(self, command: str, database: str, folder: Path, moved: Moved) -> None:
        arguments = [command, "-portable", "-host", self._address, "-db", database, str(folder)]
        seen = 0
        with subprocess.Popen(
            [self._found_program(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # INFLUXDB_… would be taken for settings.
            env={name: one for name, one in os.environ.items() if not name.startswith("INFLUXDB")},
            text=True,
            errors="replace",
        ) as running:
            while True:
                try:
                    said, _ = running.communicate(timeout=_LOOK_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    if command == "backup":
                        moved((now := size_bytes(folder)) - seen)
                        seen = now
                except BaseException:
                    running.kill()
                    raise
        if running.returncode != 0:
            last = next((line for line in reversed(said.splitlines()) if line.strip()), "")
            raise SinkError(f"influxd {command} of database {database!r} failed: {last.strip()}")
        moved(size_bytes(folder) - seen)

    def _refuse_away(self) -> None:
        """The program itself tries again for half an hour."""
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            raise SinkError(
                f"InfluxDB takes no backups at {self._address}: {plain_text(error)} (bind-address "
                "of influxdb.conf; --influxd-address names another)"
            ) from None

    def _existing(self) -> set[str]:
        response = asked(self._session, "/query", [("q", "SHOW DATABASES")])
        try:
            (result,) = json.loads(response.data)["results"]
            return {name for one in result["series"] for (name,) in one.get("values", ())}
        except (ValueError, LookupError, TypeError):
            raise SinkError(
                f"InfluxDB at {self._session.url} answers SHOW DATABASES with {response.status}"
            ) from None

    def _found_program(self) -> str:
        found = shutil.which(self._program)
        if found is None:
            raise SinkError(
                f"{self._program}: there is no such program: InfluxDB 1.x is saved by its own "
                "influxd, of the same version as the server (--influxd names another, "
                "--without influxdb leaves it out)"
            )
        return found
