"""InfluxDB 3: how it is recognised, and asked how long it keeps points.

What it answers was measured on 3.5.0; see docs/sink-responses.md.
"""

from __future__ import annotations

import json
from math import inf
from typing import Any

from common.sink.http_session import SinkSession

PING_PATH = "/ping"
QUERY_PATH = "/api/v3/query_sql"

_MESSAGE_MAX_BYTES = 300

# Only the database of that name has the table. A database without retention has null there.
RETENTION_QUERY = (
    ("db", "_internal"),
    ("format", "json"),
    ("q", "SELECT database_name, retention_period_ns FROM system.databases WHERE NOT deleted"),
)


def is_3(body: bytes) -> bool:
    """Whether the response to a ping is InfluxDB 3's: JSON, where 1.x and 2.x send no body."""
    document = document_of(body)
    version = document.get("version") if isinstance(document, dict) else None
    return isinstance(version, str) and version.startswith("3.")


def ask_retention_seconds(session: SinkSession) -> dict[str, float] | str:
    """How long each database keeps points; what the server says instead where it does not tell.

    Raises as :meth:`SinkSession.request` does.
    """
    response = session.request("GET", QUERY_PATH, RETENTION_QUERY)
    known = retention_seconds(response.data)
    if known is not None:
        return known
    said = response.data[:_MESSAGE_MAX_BYTES].decode("utf-8", "replace")
    return f"status {response.status}: {' '.join(said.split())}"


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


def document_of(body: bytes) -> Any:
    """The JSON of a response; None for anything else."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
