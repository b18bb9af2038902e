"""InfluxDB 3: how it is written to, and what it answers.

Its own write path takes the good lines of a body and lists every line that it refuses, which the
path of InfluxDB 2 on the same server does not: there one bad line refuses the whole body, in words
that name nothing. What it answers was measured on 3.5.0; see docs/sink-responses.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.sink.influx3 import document_of
from services.loader.responses import Kind, Outcome, RefusedLine, classify, kind_of_reason

WRITE_PATH = "/api/v3/write_lp"

_PARTIAL = "partial write of line protocol occurred"
EMPTY = "incoming write was empty"

# How the texts begin that 3 sends whatever the status, and what they mean.
_TEXTS = (
    (EMPTY, Kind.POINTS),
    ("body content is not valid utf8", Kind.POINTS),
    ("max request size", Kind.TOO_LARGE),
    ("error decoding gzip stream", Kind.UNREADABLE),
    ("invalid character in database name", Kind.UNEXPECTED),
    ("db name ", Kind.UNEXPECTED),
    ("cannot write to soft-deleted database", Kind.MISSING),
    ("Adding a new database would exceed", Kind.CAPACITY),
)


def write_query(database: str) -> list[tuple[str, str]]:
    """The parameters of a write: milliseconds, and the good lines whatever the others are."""
    return [("db", database), ("precision", "millisecond"), ("accept_partial", "true")]


def classify_3(
    status: int, headers: Mapping[str, str], body: bytes, *, now_seconds: float
) -> Outcome:
    """The meaning of a response to a write on InfluxDB 3's own path; never raises."""
    outcome = classify(status, headers, body, now_seconds=now_seconds)
    if status < 400 or outcome.kind in (Kind.REFUSED, Kind.BUSY):
        return outcome
    document = document_of(body)
    said = document.get("error") if isinstance(document, dict) else None
    text = said if isinstance(said, str) else body.decode("utf-8", "replace").strip()
    if text == _PARTIAL and isinstance(document, dict):
        return _partial(status, _refused_lines(document.get("data"))) or outcome
    for begin, kind in _TEXTS:
        if text.startswith(begin):
            return Outcome(kind, text[:500], kind.value, status)
    return outcome


def _partial(status: int, refused: tuple[RefusedLine, ...]) -> Outcome | None:
    if not refused:
        return None
    kinds = {one.kind for one in refused}
    kind = kinds.pop() if len(kinds) == 1 else Kind.POINTS
    message = f"{_PARTIAL} ({len(refused)} refused), the first: {refused[0].message}"
    return Outcome(kind, message, kind.value, status, refused_lines=refused)


def _refused_lines(data: Any) -> tuple[RefusedLine, ...]:
    """Every line that is listed; none at all if one of them is of another form."""
    found = []
    for one in data if isinstance(data, list) else ():
        number = one.get("line_number") if isinstance(one, dict) else None
        message = one.get("error_message") if isinstance(one, dict) else None
        if not isinstance(number, int) or not isinstance(message, str):
            return ()
        # JSON can spell half of a surrogate pair, which no dead letter could keep.
        message = message.encode("utf-8", "replace").decode()
        found.append(RefusedLine(number, message, _kind_of_line(message)))
    return tuple(found)


def _kind_of_line(message: str) -> Kind:
    """The number names the line, so no limit is without a name."""
    kind = kind_of_reason(message)
    if kind is Kind.CAPACITY:
        return Kind.LIMIT
    return kind if kind in (Kind.LIMIT, Kind.OUTSIDE_WINDOW) else Kind.POINTS
