"""Read InfluxDB back with InfluxQL on ``/query``, which 1.x, 2.x and 3 all speak; or by SQL.

Format of InfluxQL: the 1.x query API. With ``chunked=true`` the response is one document a line; a
series may go on in the next document, and ``"partial": true`` on a result promises one. A server
that does not chunk answers with a single document of the same shape. Points are asked for in
MessagePack, which costs both sides less, and in JSON once a server has answered with anything else.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import urllib3

from common.config.load import database_of
from common.errors import SinkError
from common.samples.layout import (
    ANY_BOUND,
    NAME,
    NAME_TAG,
    Layout,
    Place,
    any_bound,
    is_of_histogram,
)
from common.samples.rollup import aggregate_field, sample_field
from common.sink.errors import after_status, failed, refusal
from common.sink.http_session import SinkSession
from common.sink.influx1 import kept_seconds
from common.sink.influx3 import PING_PATH, ask_retention_seconds, is_3
from common.sink.select import Select, between, quote, quote_text
from common.sink.sql import TAG, Schema, lines_in, schema_of, selected
from services.verifier.points import Points, SeriesKey, known_shape
from services.verifier.sink import sql as sink_sql
from services.verifier.sink.rows import (
    Rows,
    json_columns,
    json_document,
    packed_columns,
    packed_documents,
    series_of,
)
from services.verifier.sink.started import starts_of

# Names in one statement; a few hundred keep the statement far below any limit.
_NAMES_PER_STATEMENT = 200

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
        self._sql = session.settings.query_language == "sql"
        self._packs = True
        self._fields: list[tuple[str, str, str]] = []
        # Of what was read last, points that only another bucket has than their series' own.
        self.elsewhere: dict[SeriesKey, int] = {}

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
            raise failed(self._session, error) from None
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

    def starts(self) -> Iterator[str]:
        """When each of its URLs was started, in its own words; empty where it does not say so."""
        return starts_of(self._session)

    def measurements(self) -> list[str]:
        """The names of all measurements. Raises :class:`~common.errors.SinkError`."""
        if self._sql:
            return sorted(schema_of(self._session, self._database))
        return [str(row.get("name")) for _, row in self.table("SHOW MEASUREMENTS")]

    def field_types(self) -> Iterator[tuple[str, str, str]]:
        """Each measurement with each of its fields and its type, such as ``float``.

        Raises :class:`~common.errors.SinkError`.
        """
        if self._sql:
            yield from _fields_of(schema_of(self._session, self._database))
            return
        for name, _, row in self.named_table("SHOW FIELD KEYS"):
            yield name, str(row.get("fieldKey")), str(row.get("fieldType"))

    def places(self, layouts: Iterable[Layout], *, rolled: bool) -> list[Place]:
        """Where the sink can hold series under any of ``layouts``; ``rolled``: aggregates of them.

        Raises :class:`~common.errors.SinkError`.
        """
        found, fields = set[Place](), set[str]()
        by_field = False
        for layout in layouts:
            by_field |= NAME in layout.field or bool(layout.histograms)
            if layout.name_tag:
                measurement, field = layout.measurement, layout.field
                names = self.tag_values(measurement, layout.name_tag)
                found.update(Place(measurement, field, name) for name in names)
            else:
                fields.add(layout.field)
        if not by_field:
            held = self.measurements() if fields else ()
            return [*sorted(found), *(Place(name, field) for name in held for field in fields)]
        for name, field, _ in self.field_types():
            of_samples = sample_field(field) if rolled else field
            if of_samples is not None:
                found.add(Place(name, of_samples))
        return sorted(found)

    def tag_values(
        self, measurement: str, tag: str, tags: Mapping[str, str] = MappingProxyType({})
    ) -> list[str]:
        """What a tag holds in a measurement, of series with all of ``tags``.

        Raises :class:`~common.errors.SinkError`.
        """
        if self._sql:
            one = Select((), measurement, tags, last_by=(tag,))
            found = selected(self._session, self._database, one)
            return sorted({str(row[tag]) for row in found if row[tag] is not None})
        # Without a bound InfluxDB 3 shows those of the last day alone.
        conditions = ["time > 0", *_equal(tags)]
        statement = (
            f"SHOW TAG VALUES FROM {quote(measurement)} WITH KEY = {quote(tag)}"
            f" WHERE {' AND '.join(conditions)}"
        )
        return sorted({str(row["value"]) for _, row in self.table(statement)})

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
        # Asked for each time: SQL would not show a column, be it a tag, that is new since then.
        schema = schema_of(self._session, self._database) if self._sql else {}
        places = self._with_bounds(set(places), schema, rolled=bool(fields))
        rows = Rows(len(fields))
        for rows.fields, measurements, names in _parts(places):
            wanted = list(rows.fields)
            if fields:
                wanted = [aggregate_field(one, name) for one in rows.fields for name in fields]
            if self._sql:
                what = sink_sql.Wanted(wanted, tags, names, start_ms, end_ms)
                for one in measurements:
                    known = schema.get(one, {})
                    sink_sql.read(self._session, self._database, one, known, what, rows)
                continue
            columns = ",".join(f"{quote(name)}::field" for name in wanted)
            conditions = [*_equal(tags), *between(start_ms, end_ms)]
            if names:
                one_of = (f"{quote(NAME_TAG)} = {quote_text(name)}" for name in names)
                conditions.append(f"({' OR '.join(one_of)})")
            statement = (
                f"SELECT {columns} FROM {','.join(map(quote, measurements))}"
                f" WHERE {' AND '.join(conditions)} GROUP BY *"
            )
            self._select(statement, rows)
        return rows.points()

    def list_anew(self) -> None:
        """Have bounds read, too, that the sink has only got since it was asked for them."""
        self._fields.clear()

    def _with_bounds(self, places: set[Place], schema: Schema, *, rolled: bool) -> set[Place]:
        """With those of the bounds that the sink has, where any is wanted."""
        wanted = {place for place in places if place.field == ANY_BOUND}
        if not wanted:
            return places
        if not self._sql and not self._fields:
            self._fields = list(self.field_types())
        for name, field, _ in _fields_of(schema) if self._sql else self._fields:
            of_samples = sample_field(field) if rolled else field
            if of_samples and any_bound(place := Place(name, of_samples)) in wanted:
                places.add(place)
        return places - wanted

    def rows(self, select: Select) -> Iterator[dict[str, Any]]:
        """The rows of what is asked, columns by name, times in ms.

        Raises :class:`~common.errors.SinkError`.
        """
        if self._sql:
            yield from selected(self._session, self._database, select)
        else:
            yield from (tags | row for tags, row in self.table(select.influxql()))

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
        if self._sql:
            raise SinkError(f"{self._where} is read by SQL, which has no {statement}")
        with self._response(statement, "application/json") as response:
            for line in lines_in(response.stream(_READ_BYTES)):
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
        for line in lines_in(response.stream(_READ_BYTES)):
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
            raise failed(self._session, error) from None

    def _refused(self, response: urllib3.BaseHTTPResponse, what: str) -> SinkError:
        why = _reason(response.data.decode("utf-8", "replace"))
        why += after_status(self._session, response.status)
        error = refusal(response.status)
        return error(f"{self._where} answers {response.status} to a {what}: {why}")


def _fields_of(schema: Schema) -> Iterator[tuple[str, str, str]]:
    for name, columns in schema.items():
        yield from ((name, field, type_) for field, type_ in columns.items() if type_ != TAG)


def _parts(
    places: Iterable[Place],
) -> Iterator[tuple[Sequence[str], Collection[str], Collection[str]]]:
    """What one statement reads: fields, measurements, and the names where a tag has them.

    Fields of histograms come together, as a point has all of them; of others each is alone.
    """
    of_metric: dict[Place, list[str]] = {}
    for place in sorted(set(places)):
        of_metric.setdefault(place._replace(field=""), []).append(place.field)
    whole: dict[tuple[str, ...], list[str]] = {}
    named: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for (measurement, _, name), fields in of_metric.items():
        counted = list(filter(is_of_histogram, fields))
        alone = ((field,) for field in fields if not is_of_histogram(field))
        for together in (*map(tuple, _batches(counted)), *alone):
            if name:
                named.setdefault((together, measurement), []).append(name)
            else:
                whole.setdefault(together, []).append(measurement)
    for together, measurements in whole.items():
        for part in _batches(measurements):
            yield together, part, ()
    for (together, measurement), names in named.items():
        for part in _batches(names):
            yield together, (measurement,), part


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for index in range(0, len(names), _NAMES_PER_STATEMENT):
        yield names[index : index + _NAMES_PER_STATEMENT]


def _equal(tags: Mapping[str, str]) -> list[str]:
    return [f"{quote(tag)} = {quote_text(value)}" for tag, value in tags.items()]


def _reason(text: str) -> str:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text[:200].strip() or "no reason given"
    if isinstance(body, dict):
        return str(body.get("error") or body.get("message") or text)[:200]
    return text[:200]
