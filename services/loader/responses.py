"""What a response of the sink means: status, headers and body to one of a few outcomes.

The table is complete: whatever a server, a proxy or a captive portal may send has a meaning, and
only ``204 No Content`` means that points were written. Messages are understood in the form of
InfluxDB 2 (``{"code", "message"}``) and of 1.x (``{"error"}``). See docs/sink-responses.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

from common.runtime.retry_after import retry_after_seconds


class Kind(Enum):
    """What to do about a response; the value is a metric label."""

    WRITTEN = "written"  # every point is in the sink
    POINTS = "points"  # some points are refused: isolate them
    RETENTION = "retention"  # some points are older than the sink keeps: drop them
    TOO_LARGE = "too_large"  # halve
    UNREADABLE = "unreadable"  # the sink could not inflate the body
    CAPACITY = "capacity"  # a limit of the sink is reached: pause
    REFUSED = "refused"  # 401, 403: pause
    MISSING = "missing"  # 404: pause
    UNEXPECTED = "unexpected"  # nothing that a sink sends to a write: pause
    BUSY = "busy"  # 429, 503: wait
    FAILED = "failed"  # other 5xx, time-out, no connection: back off


ABOUT_POINTS = frozenset({Kind.POINTS, Kind.RETENTION, Kind.TOO_LARGE})
PAUSES = frozenset({Kind.CAPACITY, Kind.REFUSED, Kind.MISSING, Kind.UNEXPECTED})
FAILURES = frozenset({Kind.BUSY, Kind.FAILED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """A response, understood.

    ``message`` is the sink's own (or the transport's, if there was no response). ``cause`` is a
    short stable word for metrics. ``dropped`` is the number of points the sink says it did not
    write, ``retry_after_seconds`` the wait it asked for.
    """

    kind: Kind
    message: str
    cause: str = ""
    status: int | None = None
    dropped: int | None = None
    retry_after_seconds: float | None = None

    @property
    def strains(self) -> bool:
        """Whether it counts against the circuit; a wait the sink itself named does not."""
        return self.kind in FAILURES and self.retry_after_seconds is None


_PREFIXES = ("failure writing points to database: ", "partial write: ")

# How a reason begins when it speaks of the points, of their age, or of the sink's own limits.
# Anchored, because reasons quote measurement names and lines, which may say anything.
_RETENTION = re.compile(
    r"points beyond retention policy|dropped \d+ points? outside retention policy"
    r"|shard \d+ is pending deletion"
)
_LIMIT = re.compile(r"max-series-per-database|max-values-per-tag")
_POINTS = re.compile(
    r"unable to parse |field type conflict|invalid tag key|invalid field name|key contains invalid"
    r"|input field |max key length exceeded"
)
_UNREADABLE = re.compile(
    r"unable to read data|gzip: |flate: |unexpected EOF|gzipped HTTP body contains"
)
# Complaints about the request: no line of it is to blame, so no line may be dead-lettered for them.
_REQUEST = re.compile(
    r"database is required|invalid precision|invalid consistency|bucket not found"
)
# Limits of hosted servers, which word them in many ways.
_QUOTA = re.compile(
    r"\b(cardinality|quota|plan limit|limit exceeded|exceeded limit)\b", re.IGNORECASE
)
_QUOTED = re.compile(r'"[^"]*"')

_QUOTE = "unable to parse '"
_QUOTE_END = "': "
_MEASUREMENT = re.compile(r'input field ".*?" on measurement "(.*)" is ')
_DROPPED = re.compile(r"dropped=([0-9]{1,15})(?: for database: \S+ for retention policy: \S+)?\Z")

_MESSAGE_MAX_CHARS = 500  # of a body that is no sink's


def classify(
    status: int, headers: Mapping[str, str], body: bytes, *, now_seconds: float
) -> Outcome:
    """The meaning of a response.

    ``headers`` must find ``Retry-After`` and ``Date`` whatever their case. ``now_seconds`` is the
    wall clock, for a ``Retry-After`` that is a date. Never raises.
    """
    reason, own = _message(headers, body)
    message = reason or _phrase(status)

    def outcome(kind: Kind, cause: str = "") -> Outcome:
        return Outcome(kind, message, cause or kind.value, status)

    if status == HTTPStatus.NO_CONTENT:
        return outcome(Kind.WRITTEN)
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
        return _refusal(status, message) if own else outcome(Kind.UNEXPECTED)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return outcome(Kind.TOO_LARGE)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return outcome(Kind.REFUSED)
    if status == HTTPStatus.NOT_FOUND:
        return outcome(Kind.MISSING)
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        wait = retry_after_seconds(headers.get("Retry-After"), headers.get("Date"), now_seconds)
        return Outcome(Kind.BUSY, message, "busy", status, retry_after_seconds=wait)
    if status == HTTPStatus.REQUEST_TIMEOUT:
        return outcome(Kind.FAILED, "timeout")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        if own and _UNREADABLE.match(reason):
            return outcome(Kind.UNREADABLE)
        return outcome(Kind.FAILED, "server_error")
    return outcome(Kind.UNEXPECTED)


def describe(outcome: Outcome, bucket: str) -> str:
    """One sentence on a response that is not about points."""
    if outcome.status is None:
        return f"InfluxDB gave no response ({outcome.cause}): {outcome.message}"
    what = {
        Kind.CAPACITY: "is at one of its limits",
        Kind.REFUSED: "refuses our token",
        Kind.MISSING: "does not know the bucket or organisation",
        Kind.UNEXPECTED: "sent what no InfluxDB sends to a write",
    }.get(outcome.kind, "failed")
    return f"InfluxDB {what} (bucket {bucket}, status {outcome.status}): {outcome.message}"


def quoted_lines(message: str) -> dict[str, str]:
    """The lines that the sink's message quotes as unparsable, each with what it says of them.

    Form: ``unable to parse '<line>': <why>``, one for each bad line, joined by line breaks.
    """
    found = {}
    for one in message.split("\n"):
        begin, end = one.find(_QUOTE), one.rfind(_QUOTE_END)
        if 0 <= begin < end:
            found[one[begin + len(_QUOTE) : end]] = one[begin:]
    return found


def named_measurement(message: str) -> bytes | None:
    """The measurement that a message about a conflict names, as lines spell it."""
    found = _MEASUREMENT.search(message)
    if found is None:
        return None
    return found[1].encode().replace(b",", b"\\,").replace(b" ", b"\\ ")


def _refusal(status: int, message: str) -> Outcome:
    """A 400 or 422 with a message of the sink's own."""
    reason = message
    for prefix in _PREFIXES:
        reason = reason.removeprefix(prefix)
    if _UNREADABLE.match(reason):
        kind = Kind.UNREADABLE
    elif _RETENTION.match(reason):
        kind = Kind.RETENTION
    elif _LIMIT.match(reason):
        kind = Kind.CAPACITY
    elif _POINTS.match(reason):
        kind = Kind.POINTS
    elif _REQUEST.match(reason):
        kind = Kind.UNEXPECTED
    elif _QUOTA.search(_QUOTED.sub("", reason)):
        kind = Kind.CAPACITY
    else:
        kind = Kind.POINTS
    found = _DROPPED.search(message)
    return Outcome(kind, message, kind.value, status, int(found[1]) if found else None)


def _message(headers: Mapping[str, str], body: bytes) -> tuple[str, bool]:
    """What the response says, and whether it says it as a sink does."""
    text = body.decode("utf-8", "replace").strip()
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        for key in ("message", "error"):
            if isinstance(said := parsed.get(key), str) and said:
                # JSON can spell half of a surrogate pair, which no dead letter could keep.
                return said.encode("utf-8", "replace").decode(), True
    said = headers.get("X-Influxdb-Error")
    if said:
        return said, True
    if location := headers.get("Location"):
        return f"redirected to {location}"[:_MESSAGE_MAX_CHARS], False
    return " ".join(text.split())[:_MESSAGE_MAX_CHARS], False


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"status {status}"
