"""Answers of the sink: to posts, and to the loader's and the operator's queries."""

from __future__ import annotations

import json
import math
from typing import Any

from requests.structures import CaseInsensitiveDict

from common.errors import SinkError
from common.runtime.retry_after import retry_after_seconds
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Target, require
from services.loader.messages import named, quoted_lines
from services.loader.responses import ABOUT_POINTS, PAUSES, Kind, classify
from services.loader.watermark import parse_watermark
from services.verifier.sink.rows import Rows, json_columns, json_document

_STATUSES = (204, 200, 400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 301, 100, 0, 999)
WORDS = (
    "unable to parse 'm value=': missing field value",
    "failure writing points to database: partial write: field type conflict: input field "
    '"value" on measurement "m" is type float, already exists as type integer dropped=1',
    "partial write: dropped 3 points outside retention policy of duration 1h0m0s - oldest ...",
    "partial write: max-series-per-database limit exceeded: (100) dropped=2",
    "partial write: points beyond retention policy dropped=7",
    "request too large",
    "unable to read data: gzip: invalid header",
    "database is required",
    "org 1234 has exceeded limited_write plan limit",
    'partial write: max-values-per-tag limit exceeded (1/1): measurement="m" tag="t" dropped=1',
    "dml handler error: data in table m is outside of the retention period",
    "dropped 1 points outside retention policy of duration 1h and 2 points outside write window (",
    "",
)
_TOKENS = ("dropped=", "partial write: ", "unable to parse '", "': ", "\n", '"', "{", "}", "null")
DATES = (
    "Fri, 31 Dec 1999 23:59:59 GMT",
    "Tue, 14 Nov 2023 22:13:30 +0200",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "31 Dec 9999 23:59:59 -2359",
    "1 Jan 0001 00:00 +0000",
)
_DATE_TOKENS = ("GMT", "+0000", "-9999", "Jan", "Sun,", ":", "0", "99", "(comment)", ",", "-")
_NOW_SECONDS = 1_700_000_000.0


def date_or_seconds(m: Mutator) -> str:
    """A Retry-After or Date header."""
    if m.chance(0.4):
        return m.number_text()
    return m.text(m.pick(DATES), _DATE_TOKENS, rounds=m.below(4))


class SinkAnswers(Target):
    """Every answer has an outcome; only 204 means that points were written."""

    name = "sink_answers"
    weight = 80

    def make(self, m: Mutator) -> tuple[int, dict[str, str], bytes]:
        """Status, headers, body."""
        words = m.text(m.pick(WORDS), _TOKENS, rounds=m.below(3))
        document = m.pick(
            (
                {"code": "invalid", "message": words},
                {"error": words},
                {"code": m.plain(), "message": m.plain()},
                {"message": {"message": words}},
            )
        )
        body = json.dumps(document).encode()
        what = m.below(10)
        if what < 4:
            body = m.bytes(body, (b'"', b"{", b"[", b"}", b"message", b"error", b"\\u", b"\xff"))
        elif what == 4:
            body = m.pick(
                (b"", b"<html>502</html>", b"[" * m.below(60_000), b'{"a":' * m.below(9000))
            )
        headers = {}
        for name in ("Retry-After", "Date"):
            if m.chance(0.5):
                headers[name] = date_or_seconds(m)
        if m.chance(0.2):
            headers["X-Influxdb-Error"] = words
        if m.chance(0.1):
            headers["location"] = m.word()
        return m.pick(_STATUSES) if m.chance(0.95) else m.below(1000), headers, body

    def check(self, case: Any) -> bool:
        """The outcome follows from the status, and names a wait only where one can be kept."""
        status, headers, body = case
        found = classify(status, CaseInsensitiveDict(headers), body, now_seconds=_NOW_SECONDS)
        require((found.kind is Kind.WRITTEN) == (status == 204), "another outcome", found)
        require(found.status == status and isinstance(found.message, str), "another outcome", found)
        require(bool(found.cause), "no cause")
        wait = found.retry_after_seconds
        require(wait is None or (math.isfinite(wait) and wait > 0), "an impossible wait", wait)
        require(found.dropped is None or found.dropped >= 0, "less than nothing dropped", found)
        if status in (401, 404):
            require(found.kind in PAUSES, "another outcome", found)
        if status == 403:
            require(found.kind in PAUSES | ABOUT_POINTS | {Kind.UNREADABLE}, "another", found)
        if found.kind in ABOUT_POINTS:
            require(status >= 400 and status not in (401, 404, 429), "another outcome", found)
        quoted_lines(found.message)
        named(found.message)
        return found.kind in ABOUT_POINTS


class RetryAfter(Target):
    """Seconds to wait, or none."""

    name = "retry_after"
    weight = 20

    def make(self, m: Mutator) -> tuple[str, str | None]:
        """Retry-After, and Date or none."""
        return date_or_seconds(m), date_or_seconds(m) if m.chance(0.5) else None

    def check(self, case: Any) -> bool:
        """Finite and positive."""
        wait = retry_after_seconds(case[0], case[1], _NOW_SECONDS)
        require(wait is None or (math.isfinite(wait) and wait > 0), "an impossible wait", wait)
        return wait is not None


class SinkQueries(Target):
    """Answers of ``/query``: a watermark and rows, or :class:`SinkError`."""

    name = "sink_queries"
    weight = 30

    def make(self, m: Mutator) -> bytes:
        """An InfluxQL answer, damaged as a document or as text."""
        series = {
            "name": "up",
            "tags": {"job": "a"},
            "columns": ["time", "value"],
            "values": [[1_700_000_000_000, 1.5], [1_700_000_000_001, 2]],
        }
        document: Any = {"results": [{"statement_id": 0, "series": [series], "partial": False}]}
        if m.chance(0.8):
            document = m.document(document)
        body = json.dumps(document).encode()
        if m.chance(0.3):
            body = m.bytes(
                body, (b"[", b"]", b"{", b"}", b'"error":"x",', b"NaN", b"1e400", b"null")
            )
        return b"[" * 30_000 if m.chance(0.01) else body

    def check(self, case: Any) -> bool:
        """Nothing but :class:`SinkError`."""
        taken = True
        try:
            found = parse_watermark(case, "InfluxDB", "etl")
            require(found is None or 0 <= found < 2**53, "an impossible watermark", found)
        except SinkError:
            taken = False
        try:
            rows = Rows()
            rows.add([json_document(case, "InfluxDB")], "InfluxDB", json_columns)
            for column in rows.points().values():
                require(len(column.timestamps_ms) == len(column.values), "columns differ")
        except SinkError:
            return False
        return taken
