"""InfluxDB 3's management API, as far as ``etlctl sink init`` needs it.

Read from the source of 3.5 (``influxdb3_server/src/http.rs``): every request wants a token, that
for its health too. Core has no tokens with fewer rights than an administrator's.
"""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any

import urllib3

from common.errors import ConfigError, SinkError
from common.sink.errors import after_status, no_response
from common.sink.http_session import SinkSession
from common.sink.influx3 import (
    PING_PATH,
    QUERY_PATH,
    RETENTION_QUERY,
    is_3,
    retention_seconds,
)
from etlctl.sink.init import TOKEN_FILE_MODE, WantedBucket, read_token
from etlctl.sink.retention import Consent, Say, ensure_made, reconcile
from etlctl.whole_file import whole_file

_DATABASE_PATH = "/api/v3/configure/database"
_TOKEN_PATH = "/api/v3/configure/token/named_admin"  # noqa: S105
_MESSAGE_MAX_CHARS = 300


class Influx3:
    """One token's view of one InfluxDB. Methods raise :class:`SinkError` in one sentence."""

    def __init__(self, session: SinkSession) -> None:
        self._session = session
        self._url = session.url

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def is_there(self, token: str | None = None) -> bool:
        """Whether InfluxDB 3 answers, and takes the token; false for another server, and none."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            status, body = self._ask("GET", PING_PATH, headers=headers)
        except SinkError:
            return False
        return status == 200 and is_3(body)

    def databases(self) -> dict[str, float]:
        """Seconds that each database keeps points; infinity for ever."""
        found = retention_seconds(self._expect(200, "GET", QUERY_PATH, query=RETENTION_QUERY))
        if found is None:
            raise SinkError(f"InfluxDB at {self._url} does not say what databases it has")
        return found

    def create_database(self, name: str, seconds: int | None) -> None:
        """Make a database that keeps points for so long; None for ever."""
        self._expect(200, "POST", _DATABASE_PATH, _database(name, seconds))

    def set_retention(self, name: str, seconds: int) -> None:
        """Change how long a database keeps points."""
        self._expect(200, "PUT", _DATABASE_PATH, _database(name, seconds))

    def create_token(self, name: str) -> str:
        """Make an administrator's token; the only response that shows it."""
        body = self._expect(201, "POST", _TOKEN_PATH, {"token_name": name})
        try:
            return str(json.loads(body)["token"])
        except (ValueError, LookupError, TypeError):
            raise SinkError(f"InfluxDB at {self._url} made a token and does not show it") from None

    def _expect(
        self, wanted: int, method: str, path: str, document: Any = None, **more: Any
    ) -> bytes:
        status, body = self._ask(method, path, document, **more)
        if status != wanted:
            said = body.decode("utf-8", "replace")[:_MESSAGE_MAX_CHARS]
            raise SinkError(
                f"InfluxDB at {self._url} answers {method} {path} with {status} {said}"
                f"{after_status(self._session, status)}"
            )
        return body

    def _ask(
        self,
        method: str,
        path: str,
        document: Any = None,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[int, bytes]:
        body = None if document is None else json.dumps(document).encode()
        headers = {"Content-Type": "application/json", **headers}
        try:
            response = self._session.request(method, path, query, body, headers)
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            why = no_response(self._session, error)
            raise SinkError(f"InfluxDB at {self._url} cannot be reached: {why}") from None
        return response.status, response.data


def prepare(
    three: Influx3,
    wanted: Sequence[WantedBucket],
    token_file: Path,
    consent: Consent,
    say: Say,
) -> None:
    """Databases with their retention, and a token in the file; what is right is left alone."""
    known = three.databases()
    for one in wanted:
        _ensure_database(three, known.get(one.name), one, consent, say)
    kept = read_token(token_file)
    if kept is not None and three.is_there(kept):
        say(f"{token_file}: kept")
        return
    if consent.dry_run:
        say(f"{token_file}: would be made")
        return
    try:
        # The file comes first, so that no token is made that cannot be kept.
        with whole_file(token_file, replace=True, mode=TOKEN_FILE_MODE) as file:
            file.write(three.create_token(f"etl-loader-{uuid.uuid4().hex[:8]}").encode())
    except OSError as error:
        raise ConfigError(
            f"{token_file}: the loader's token cannot be written there: {error.strerror}"
        ) from None
    say(f"{token_file}: made (an administrator's: InfluxDB 3 Core has no others)")


def _ensure_database(
    three: Influx3, kept: float | None, wanted: WantedBucket, consent: Consent, say: Say
) -> None:
    what, seconds = f"database {wanted.name}", wanted.retention_seconds
    if kept is None:
        make = partial(three.create_database, wanted.name, seconds)
        ensure_made(what, seconds or inf, consent, say, make)
        return
    change = partial(three.set_retention, wanted.name)
    reconcile(what, kept, kept if seconds is None else seconds, consent, say, change)


def _database(name: str, seconds: int | None) -> dict[str, str]:
    return {"db": name} if seconds is None else {"db": name, "retention_period": f"{seconds}s"}
