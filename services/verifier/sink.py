"""Read InfluxDB back with InfluxQL on ``/query``, which 1.x, 2.x and 3 all speak.

Format: the 1.x query API. With ``chunked=true`` the response is one document a line; a series may
go on in the next document, and ``"partial": true`` on a result promises one. A server that does not
chunk answers with a single document of the same shape. Points are asked for in MessagePack, which
costs both sides less, and in JSON once a server has answered with anything else.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import urllib3

from common.config.load import database_of
from common.errors import SinkError
from common.samples.layout import NAME, Layout, Place
from common.samples.rollup import aggregate_field, sample_field
from common.sink.errors import after_status, no_response
from common.sink.http_session import SinkSession
from common.sink.influx1 import kept_seconds
from common.sink.influx3 import PING_PATH, ask_retention_seconds, is_3
from services.verifier.points import Points, known_shape
from services.verifier.sink_rows import (
    Rows,
    json_columns,
    json_document,
    packed_columns,
    packed_documents,
    series_of,
)

# Measurements named in one statement; a few hundred keep the statement far below any limit.
_MEASUREMENTS_PER_STATEMENT = 200

_READ_BYTES = 256 << 10
_PACKED = "application/x-msgpack"
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
        self._packs = True

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

    def kept_seconds(self) -> float:
        """How long the sink says that it keeps points; infinity for ever, or where it does not say.

        Raises :class:`~common.errors.SinkError`.
        """
        silent = self.silent_retention_seconds()
        if silent != inf:
            return inf if isinstance(silent, str) else silent
        policy = database_of(self._database).get("rp")
        database = database_of(self._database)["db"]
        try:
            rows = [row for _, row in self.table(f"SHOW RETENTION POLICIES ON {quote(database)}")]
        except SinkError:  # 2.x may not know the statement, or not allow it
            return inf
        for row in rows:
            if row.get("name") == policy if policy else row.get("default"):
                return kept_seconds(row.get("duration"))
        return inf

    def measurements(self) -> list[str]:
        """The names of all measurements. Raises :class:`~common.errors.SinkError`."""
        return [str(row.get("name")) for _, row in self.table("SHOW MEASUREMENTS")]

    def places(self, layouts: Iterable[Layout], *, rolled: bool) -> list[Place]:
        """Where the sink can hold series under any of ``layouts``; ``rolled``: aggregates of them.

        Raises :class:`~common.errors.SinkError`.
        """
        fields = {layout.field for layout in layouts}
        if not any(NAME in field for field in fields):
            return [Place(name, field) for name in self.measurements() for field in fields]
        found = set[Place]()
        for name, _, row in self.named_table("SHOW FIELD KEYS"):
            field = str(row.get("fieldKey"))
            of_samples = sample_field(field) if rolled else field
            if of_samples is not None:
                found.add(Place(name, of_samples))
        return sorted(found)

    def read(
        self,
        places: Iterable[Place],
        start_ms: int,
        end_ms: int,
        tags: Mapping[str, str] = MappingProxyType({}),
        fields: Sequence[str] = (),
    ) -> Points:
        """Every point at one of ``places`` in ``(start_ms, end_ms]``.

        Of rollups the aggregates ``fields``, side by side. Only of series with all of ``tags``,
        none of which is empty. Raises :class:`~common.errors.SinkError`.
        """
        by_field: dict[str, list[str]] = {}
        for measurement, field in sorted(set(places)):
            by_field.setdefault(field, []).append(measurement)
        conditions = [f"{quote(tag)} = {quote_text(value)}" for tag, value in tags.items()]
        # Nanoseconds: the one time literal that every version takes.
        conditions += [f"time > {start_ms * 1_000_000}", f"time <= {end_ms * 1_000_000}"]
        rows = Rows(len(fields))
        for rows.field, names in by_field.items():
            wanted = [aggregate_field(rows.field, name) for name in fields] or [rows.field]
            columns = ",".join(f"{quote(name)}::field" for name in wanted)
            for index in range(0, len(names), _MEASUREMENTS_PER_STATEMENT):
                part = names[index : index + _MEASUREMENTS_PER_STATEMENT]
                statement = (
                    f"SELECT {columns} FROM {','.join(map(quote, part))}"
                    f" WHERE {' AND '.join(conditions)} GROUP BY *"
                )
                self._select(statement, rows)
        return rows.points()

    def table(self, statement: str) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
        """The rows of a statement's response, each with the tags of its series, columns by name.

        Times are in ms. Raises :class:`~common.errors.SinkError`.
        """
        for _, tags, row in self.named_table(statement):
            yield tags, row

    def named_table(self, statement: str) -> Iterator[tuple[str, dict[str, str], dict[str, Any]]]:
        """The same with the name of the series in front.

        Raises :class:`~common.errors.SinkError`.
        """
        with self._response(statement, "application/json") as response:
            for line in filter(None, _lines(response.stream(_READ_BYTES))):
                for series in series_of(json_document(line, self._where), self._where):
                    with known_shape(self._where, SinkError):
                        for row in json.loads(bytes(series.values) or b"[]"):
                            cells = dict(zip(series.columns, row, strict=True))
                            yield series.name, series.tags or {}, cells

    def _select(self, statement: str, rows: Rows) -> None:
        if not (self._packs and self._read_packed(statement, rows)):
            with self._response(statement, "application/json") as response:
                self._read_json(response, rows)

    def _read_packed(self, statement: str, rows: Rows) -> bool:
        """Ask for MessagePack and read what comes; False if it must be asked for in JSON."""
        with self._response(statement, _PACKED, refused=False) as response:
            self._packs = response.headers.get("Content-Type") == _PACKED
            if response.status != 200:
                return False
            if not self._packs:
                self._read_json(response, rows)
                return True
            documents = packed_documents(b"".join(response.stream(_READ_BYTES)))
        if documents is None:
            return False
        if rows.add(documents, self._where, packed_columns):
            raise SinkError(f"{self._where} cut its response short")
        return True

    def _read_json(self, response: urllib3.BaseHTTPResponse, rows: Rows) -> None:
        more = False
        for line in filter(None, _lines(response.stream(_READ_BYTES))):
            more = rows.add([json_document(line, self._where)], self._where, json_columns)
        if more:
            raise SinkError(f"{self._where} cut its response short")

    @contextmanager
    def _response(
        self, statement: str, accept: str, *, refused: bool = True
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """The response to a statement, open; with ``refused`` any status but 200 is an error."""
        form = {**database_of(self._database), "q": statement, "epoch": "ms", "chunked": "true"}
        headers = {**_HEADERS, "Accept": accept}
        try:
            body = urlencode(form).encode()
            response = self._session.open("POST", "/query", body=body, headers=headers)
            try:
                if refused and response.status != 200:
                    raise self._refused(response, "query")
                yield response
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


def quote_text(text: str) -> str:
    """An InfluxQL string in single quotes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
