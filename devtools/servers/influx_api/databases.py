"""The databases of a real influxd 1.x, one for each bucket."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Protocol


class Databases(Protocol):
    """Where points of a bucket go."""

    def keep(self, name: str, retention_seconds: int, shard_seconds: int) -> None:
        """Make or alter the database. Raises :class:`OSError` when it cannot be done."""

    def drop(self, name: str) -> None:
        """Drop the database. Raises :class:`OSError` when it cannot be done."""


class NoDatabases:
    """For tests of the management API alone."""

    def keep(self, name: str, retention_seconds: int, shard_seconds: int) -> None:
        """Nothing."""

    def drop(self, name: str) -> None:
        """Nothing."""


class InfluxdDatabases:
    """The databases of an influxd 1.x, through ``/query``."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        # Whatever proxy the environment names: influxd is on the same machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def keep(self, name: str, retention_seconds: int, shard_seconds: int) -> None:
        """CREATE and ALTER: each does nothing if there is nothing to do."""
        quoted = _quoted(name)
        self._execute(f"CREATE DATABASE {quoted}")
        self._execute(
            f'ALTER RETENTION POLICY "autogen" ON {quoted} DURATION {retention_seconds}s '
            f"SHARD DURATION {shard_seconds}s DEFAULT"
        )

    def drop(self, name: str) -> None:
        """Nothing happens if there is none."""
        self._execute(f"DROP DATABASE {_quoted(name)}")

    def _execute(self, statement: str) -> None:
        form = urllib.parse.urlencode({"q": statement}).encode()
        try:
            with self._opener.open(f"{self._url}/query", form, timeout=30) as response:
                result = json.load(response)["results"][0]
        except (urllib.error.URLError, ValueError, KeyError, IndexError) as error:
            raise OSError(f"{statement}: {error}") from None
        if "error" in result:
            raise OSError(f"{statement}: {result['error']}")


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
