"""InfluxDB: which version is there, and what of it can be saved."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import urllib3

from common.errors import SinkError
from common.sink.errors import no_response
from common.sink.http_session import SinkSession
from common.sink.influx3 import PING_PATH, is_3
from etlctl.backup.parts import Moved, Part, Saved


class InfluxDb:
    """The buckets that the pipeline writes to, in whichever InfluxDB is there.

    ``session`` is asked for the version; ``makers`` make what saves each major version, when it is
    needed: the credentials that one needs the other does not.
    """

    name = "influxdb"

    def __init__(self, session: SinkSession, makers: Mapping[int, Callable[[], Part]]) -> None:
        self._session = session
        self._makers = makers
        self._made: tuple[int, Part] | None = None

    def save(self, folder: Path, moved: Moved) -> Saved:
        """As the version that is there saves."""
        major, part = self._found()
        saved = part.save(folder, moved)
        return Saved(saved.said, {"major": major, **saved.known})

    def check(self, folder: Path, known: Mapping[str, Any]) -> None:
        """Also refuses what another major version has saved."""
        major, part = self._found()
        if major != known.get("major"):
            raise SinkError(
                f"the backup is of InfluxDB {known.get('major')}.x, and InfluxDB {major}.x is at "
                f"{self._session.url}"
            )
        part.check(folder, known)

    def restore(self, folder: Path, known: Mapping[str, Any], moved: Moved) -> str:
        """As the version that is there restores."""
        return self._found()[1].restore(folder, known, moved)

    def _found(self) -> tuple[int, Part]:
        if self._made is None:
            major = _major_version(self._session)
            maker = self._makers.get(major)
            if maker is None:
                raise SinkError(
                    f"InfluxDB {major} at {self._session.url} has no way to be saved over the "
                    "network: stop it and copy its object store and catalog "
                    "(--object-store, --data-dir), and say --without influxdb"
                )
            self._made = major, maker()
        return self._made


def _major_version(session: SinkSession) -> int:
    response = asked(session, PING_PATH)
    if is_3(response.data):
        return 3
    version = response.headers.get("X-Influxdb-Version", "").removeprefix("v")
    major = version.partition(".")[0]
    if not major.isdigit():
        raise SinkError(
            f"{session.url}{PING_PATH} answers with {response.status} and no version: whether it "
            "is an InfluxDB that can be saved cannot be told"
        )
    return int(major)


def asked(
    session: SinkSession, path: str, query: Sequence[tuple[str, str]] = ()
) -> urllib3.BaseHTTPResponse:
    """The response to a GET. Raises :class:`SinkError` where there is none."""
    try:
        return session.request("GET", path, query)
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
        why = no_response(session, error)
        raise SinkError(f"InfluxDB at {session.url} does not respond: {why}") from None
