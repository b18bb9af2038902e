"""InfluxDB 3 read by SQL, at ``/api/v3/query_sql``, where its InfluxQL cannot be reached.

A row is a JSON object on a line of its own; what is null is left out. SQL refuses a table and a
column that is not there, where InfluxQL gives nothing: so the schema is asked first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from common.errors import SinkError
from common.sink.errors import after_status, failed, refusal
from common.sink.http_session import NO_RESPONSE, SinkSession
from common.sink.influx3 import QUERY_PATH
from common.sink.select import Select, text_of

TAG = "tag"
# Arrow's names, and InfluxDB's; a tag is a dictionary.
_TYPES = {
    "Float64": "float",
    "Int64": "integer",
    "UInt64": "unsigned",
    "Utf8": "string",
    "Boolean": "boolean",
}
_MESSAGE_MAX_CHARS = 300
_READ_BYTES = 256 << 10

# By table and column, the type of a field, or :data:`TAG`.
Schema = dict[str, dict[str, str]]


class DatabaseNotFound(SinkError):
    """There is no database of that name."""


def schema_of(session: SinkSession, database: str, table: str | None = None) -> Schema:
    """What tables, or one of them, hold beside the time. Raises :class:`SinkError`."""
    one = "" if table is None else f" AND table_name = {text_of(table)}"
    statement = (
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        f" WHERE table_schema = 'iox'{one}"
    )
    found: Schema = {}
    for row in rows_of(session, database, statement):
        column, type_ = str(row.get("column_name")), str(row.get("data_type"))
        columns = found.setdefault(str(row.get("table_name")), {})
        if column != "time":
            columns[column] = TAG if type_.startswith("Dictionary") else _TYPES.get(type_, type_)
    return found


def selected(session: SinkSession, database: str, select: Select) -> Iterator[dict[str, Any]]:
    """The rows of what is asked, with every column, times in ms. Raises :class:`SinkError`."""
    known = schema_of(session, database, select.measurement).get(select.measurement)
    if known is None:
        return
    empty = dict.fromkeys((*select.columns, *select.last_by))
    for row in rows_of(session, database, select.sql(known)):
        yield empty | row


def rows_of(session: SinkSession, database: str, statement: str) -> Iterator[dict[str, Any]]:
    """The rows of a statement's response. Raises :class:`SinkError`."""
    where = f"InfluxDB at {session.url}"
    document = {"db": database, "q": statement, "format": "jsonl"}
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    try:
        response = session.open("POST", QUERY_PATH, (), json.dumps(document).encode(), headers)
        try:
            if response.status != 200:
                said = " ".join(response.data.decode("utf-8", "replace").split())
                error = refusal(response.status)
                error = DatabaseNotFound if "database not found" in said else error
                raise error(
                    f"{where} answers {response.status} to SQL: {said[:_MESSAGE_MAX_CHARS]}"
                    f"{after_status(session, response.status)}"
                )
            for line in lines_in(response.stream(_READ_BYTES)):
                yield _row(line, where)
        finally:
            response.close()
    except NO_RESPONSE as error:
        raise failed(session, error) from None


def lines_in(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a body that arrives in chunks, but for empty ones."""
    begun: list[bytes] = []
    for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            yield from filter(None, (b"".join((*begun, end)),))
            begun.clear()
        begun.append(rest)
    yield from filter(None, (b"".join(begun),))


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise SinkError(f"{where} answers SQL with something that is no row: {line[:80]!r}")
    return row
