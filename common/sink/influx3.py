"""InfluxDB 3: how it is recognised, and asked how long it keeps points.

What it answers was measured on 3.5.0; see docs/sink-responses.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import inf
from typing import Any

from urllib3 import BaseHTTPResponse

from common.sink.http_session import SinkSession

PING_PATH = "/ping"
QUERY_PATH = "/api/v3/query_sql"

_MESSAGE_MAX_BYTES = 300

# Core's, for all databases together, and for each table.
TABLES_MAX = 2_000
COLUMNS_MAX = 500
TAGS_MAX = 256  # of the columns

# Only the database of that name has the table. A database without retention has null there.
RETENTION_QUERY = (
    ("db", "_internal"),
    ("format", "json"),
    ("q", "SELECT database_name, retention_period_ns FROM system.databases WHERE NOT deleted"),
)
_TABLES_QUERY = (
    ("db", "_internal"),
    ("format", "json"),
    (
        "q",
        "SELECT count(*) AS tables, max(column_count) AS columns FROM system.tables"
        " WHERE NOT deleted",
    ),
)


def is_3(body: bytes) -> bool:
    """Whether the response to a ping is InfluxDB 3's: JSON, where 1.x and 2.x send no body."""
    document = document_of(body)
    version = document.get("version") if isinstance(document, dict) else None
    return isinstance(version, str) and version.startswith("3.")


def is_core(headers: Mapping[str, str]) -> bool:
    """Whether the response to a ping is of Core, whose limits are lower than Enterprise's."""
    return headers.get("X-Influxdb-Build", "Core") == "Core"


def ask_tables(session: SinkSession) -> tuple[int, int] | str:
    """How many tables there are, and the most columns of one; what it says instead, if so.

    Raises as :meth:`SinkSession.request` does.
    """
    response = session.request("GET", QUERY_PATH, _TABLES_QUERY)
    document = document_of(response.data)
    row = document[0] if isinstance(document, list) and len(document) == 1 else None
    if isinstance(row, dict) and isinstance(row.get("tables"), int):
        return row["tables"], int(row.get("columns") or 0)
    return _said(response)


def ask_retention_seconds(session: SinkSession) -> dict[str, float] | str:
    """How long each database keeps points; what the server says instead where it does not tell.

    Raises as :meth:`SinkSession.request` does.
    """
    response = session.request("GET", QUERY_PATH, RETENTION_QUERY)
    known = retention_seconds(response.data)
    if known is not None:
        return known
    return _said(response)


def retention_seconds(body: bytes) -> dict[str, float] | None:
    """How long each database keeps points, from the response to :data:`RETENTION_QUERY`.

    Infinity where it keeps them for ever; None for a response of another form.
    """
    rows = document_of(body)
    if not isinstance(rows, list):
        return None
    found = {}
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("database_name"), str):
            return None
        nanoseconds = row.get("retention_period_ns")  # left out where it is null
        if nanoseconds is not None and not isinstance(nanoseconds, int):
            return None
        found[row["database_name"]] = inf if nanoseconds is None else nanoseconds / 1e9
    return found


def _said(response: BaseHTTPResponse) -> str:
    said = response.data[:_MESSAGE_MAX_BYTES].decode("utf-8", "replace")
    return f"status {response.status}: {' '.join(said.split())}"


def document_of(body: bytes) -> Any:
    """The JSON of a response; None for anything else."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
