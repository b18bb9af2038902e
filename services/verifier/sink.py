"""Read InfluxDB back with InfluxQL on ``/query``, which 1.x, 2.x and 3 all speak.

Format: the 1.x query API. With ``chunked=true`` the response is one JSON document a line; a series
may go on in the next document, and ``"partial": true`` on a result promises one. A server that does
not chunk answers with a single document of the same shape.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import Any
from urllib.parse import urlencode

import numpy as np
import urllib3

from common.config.load import database_of
from common.errors import SinkError
from common.sink.errors import after_status, no_response
from common.sink.http_session import SinkSession
from common.sink.influx3 import PING_PATH, ask_retention_seconds, is_3
from common.sink.query_error import query_error
from services.verifier.points import Column, Points, SeriesKey, join, known_shape

# Measurements named in one statement; a few hundred keep the statement far below any limit.
_MEASUREMENTS_PER_STATEMENT = 200

_READ_BYTES = 256 << 10
_HEADERS = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Accept": "application/json",
    # Compressing costs the server more than the network gains.
    "Accept-Encoding": "identity",
}
_LATER = (408, 429)
_NO_RESPONSE = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


class Sink:
    """One InfluxDB and one database of it (for 2.x: the bucket of that name)."""

    def __init__(self, session: SinkSession, database: str) -> None:
        self._session = session
        self._where = f"InfluxDB at {session.url}"
        self._database = database

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def silent_retention_seconds(self) -> float | str:
        """How long points are kept, where the sink takes older ones and forgets them: InfluxDB 3.

        Infinity for ever, and for any other server; what it says instead if it does not tell.
        Raises :class:`~common.errors.SinkError`.
        """
        try:
            ping = self._session.request("GET", PING_PATH)
            if ping.status in _LATER or ping.status >= 500:
                raise self._refused(ping, "ping")
            if not is_3(ping.data):
                return inf
            known = ask_retention_seconds(self._session)
        except _NO_RESPONSE as error:
            raise self._unreachable(error) from None
        return known if isinstance(known, str) else known.get(self._database, inf)

    def read(self, measurements: Iterable[str], start_ms: int, end_ms: int) -> Points:
        """Field ``value`` of every point of ``measurements`` in ``(start_ms, end_ms]``.

        Raises :class:`~common.errors.SinkError`.
        """
        names = sorted(set(measurements))
        rows = Rows()
        for index in range(0, len(names), _MEASUREMENTS_PER_STATEMENT):
            part = names[index : index + _MEASUREMENTS_PER_STATEMENT]
            self._select(part, start_ms, end_ms, rows)
        return rows.points()

    def _select(self, names: Sequence[str], start_ms: int, end_ms: int, rows: Rows) -> None:
        sources = ",".join(quote(name) for name in names)
        # Nanoseconds: the one time literal that every version takes.
        statement = (
            f'SELECT "value"::field FROM {sources}'
            f" WHERE time > {start_ms * 1_000_000} AND time <= {end_ms * 1_000_000} GROUP BY *"
        )
        form = {**database_of(self._database), "q": statement, "epoch": "ms", "chunked": "true"}
        where = self._where
        try:
            body = urlencode(form).encode()
            response = self._session.open("POST", "/query", body=body, headers=_HEADERS)
            try:
                if response.status != 200:
                    raise self._refused(response, "query")
                more = False
                for line in _lines(response.stream(_READ_BYTES)):
                    if line:
                        more = rows.add(document_of(line, where), where)
                if more:
                    raise SinkError(f"{where} cut its response short")
            finally:
                response.close()  # keeps the connection if the body was read to its end
        except _NO_RESPONSE as error:
            raise self._unreachable(error) from None

    def _refused(self, response: urllib3.BaseHTTPResponse, what: str) -> SinkError:
        why = _reason(response.data.decode("utf-8", "replace"))
        why += after_status(self._session, response.status)
        return SinkError(f"{self._where} answers {response.status} to a {what}: {why}")

    def _unreachable(self, error: BaseException) -> SinkError:
        return SinkError(f"{self._where} cannot be reached: {no_response(self._session, error)}")


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a body that arrives in chunks."""
    begun: list[bytes] = []
    for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            yield b"".join((*begun, end))
            begun.clear()
        begun.append(rest)
    yield b"".join(begun)


class Rows:
    """Rows as they arrive, a series possibly in several pieces."""

    def __init__(self) -> None:
        self._pieces: dict[SeriesKey, list[Column]] = {}

    def add(self, document: dict[str, Any], where: str) -> bool:
        """Take in one document; whether it promises another one.

        Raises :class:`SinkError` for an error that it reports, and for any other shape.
        """
        more = False
        with known_shape(where, SinkError):
            results = document.get("results")
            if "error" in document or not isinstance(results, list):
                error = document.get("error", document)
                raise SinkError(f"{where} cannot execute the query: {error!r:.300}")
            for result in results:
                if "error" in result:
                    why = query_error(result["error"])
                    raise SinkError(f"{where} cannot execute the query: {why}")
                more = bool(result.get("partial"))
                for series in result.get("series", ()):
                    key = SeriesKey.of(series["name"], series.get("tags") or {})
                    self._pieces.setdefault(key, []).append(_column(series["values"]))
        return more

    def points(self) -> Points:
        """Everything that arrived, a column for each series."""
        return {key: join(pieces)[0] for key, pieces in self._pieces.items()}


def _column(rows: list[list[Any]]) -> Column:
    """Rows ``[time, value]``. A value that is no number becomes NaN, which no point can equal."""
    return Column(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array(
            [row[1] if isinstance(row[1], float) else np.nan for row in rows], dtype=np.float64
        ),
    )


def document_of(line: bytes, where: str) -> dict[str, Any]:
    """One line of a response. Raises :class:`SinkError` for anything but a JSON object."""
    try:
        # Integers as floats too: influxd prints whole numbers without a point and -0.0 as "-0".
        document = json.loads(line, parse_int=float)
    except (ValueError, RecursionError):
        raise SinkError(
            f"{where} answers a query with something that is not JSON: {line[:80]!r}"
        ) from None
    if not isinstance(document, dict):
        raise SinkError(f"{where} answers a query with an unknown document: {line[:80]!r}")
    return document


def _reason(text: str) -> str:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text[:200].strip() or "no reason given"
    if isinstance(body, dict):
        return str(body.get("error") or body.get("message") or text)[:200]
    return text[:200]


def quote(identifier: str) -> str:
    """An InfluxQL identifier in double quotes."""
    escaped = identifier.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
