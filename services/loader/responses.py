"""What a response of the sink means: status, headers and body to one of a few outcomes.

The table is complete: whatever a server, a proxy or a captive portal may send has a meaning, and
only ``204 No Content`` means that points were written. Messages are understood in the form of
InfluxDB 2 (``{"code", "message"}``) and of 1.x (``{"error"}``). See docs/sink-responses.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus

from common.runtime.retry_after import retry_after_seconds
from services.loader.messages import named, own_words


class Kind(Enum):
    """What to do about a response; the value is a metric label."""

    WRITTEN = "written"  # every point is in the sink
    POINTS = "points"  # some points are refused: isolate them
    RETENTION = "retention"  # some points are older than the sink keeps: drop them
    OUTSIDE_WINDOW = "outside_window"  # some are older or newer than may be written: isolate them
    LIMIT = "limit"  # a limit is reached for what the message names: isolate its lines
    TOO_LARGE = "too_large"  # halve
    UNREADABLE = "unreadable"  # the sink could not inflate the body
    CAPACITY = "capacity"  # a limit of the sink is reached that names nothing: pause
    REFUSED = "refused"  # 401, 403: pause
    MISSING = "missing"  # 404: pause
    UNEXPECTED = "unexpected"  # nothing that a sink sends to a write: pause
    BUSY = "busy"  # 429, 503: wait
    FAILED = "failed"  # other 5xx, time-out, no connection: back off


ABOUT_POINTS = frozenset(
    {Kind.POINTS, Kind.RETENTION, Kind.OUTSIDE_WINDOW, Kind.LIMIT, Kind.TOO_LARGE}
)
PAUSES = frozenset({Kind.CAPACITY, Kind.REFUSED, Kind.MISSING, Kind.UNEXPECTED})
FAILURES = frozenset({Kind.BUSY, Kind.FAILED})


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that the sink lists as refused, by its number in the body, from 1 on."""

    number: int
    message: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Outcome:
    """A response, understood.

    ``message`` is the sink's own (or the transport's, if there was no response). ``cause`` is a
    short stable word for metrics. ``dropped`` is the number of points the sink says it did not
    write, ``retry_after_seconds`` the wait it asked for. ``refused_lines`` are all lines that it
    refused, if it lists them. ``url`` is whom it is from.
    """

    kind: Kind
    message: str
    cause: str = ""
    status: int | None = None
    dropped: int | None = None
    retry_after_seconds: float | None = None
    refused_lines: tuple[RefusedLine, ...] = ()
    url: str = field(default="", compare=False)

    @property
    def strains(self) -> bool:
        """Whether it counts against the circuit; a wait the sink itself named does not."""
        return self.kind in FAILURES and self.retry_after_seconds is None

    @property
    def is_opaque(self) -> bool:
        """Whether it refuses points and names no cause in them: it may say the same of any."""
        if self.kind is Kind.POINTS and not self.refused_lines:
            return _NAMELESS in self.message or kind_of_reason(self.message) is None
        return self.kind is Kind.TOO_LARGE


_KINDS: dict[int, Kind] = {
    HTTPStatus.NO_CONTENT: Kind.WRITTEN,
    HTTPStatus.UNAUTHORIZED: Kind.REFUSED,
    HTTPStatus.FORBIDDEN: Kind.REFUSED,
    HTTPStatus.NOT_FOUND: Kind.MISSING,
    HTTPStatus.REQUEST_TIMEOUT: Kind.FAILED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Kind.TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS: Kind.BUSY,
    HTTPStatus.SERVICE_UNAVAILABLE: Kind.BUSY,
}
_ABOUT_THE_BODY = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)

# What may stand before a reason: who failed at what. After the last, the points were judged.
_PREFIXES = (
    "write failed: ",
    "unexpected error writing points to database: ",
    "failure writing points to database: ",
    "write buffer error: ",
    "dml handler error: ",
    "partial write: ",
)
_PARTIAL = _PREFIXES[-1]

# How a reason begins when it speaks of the body, of the age of points, of the sink's own limits, of
# points, or of the request. Anchored, because reasons quote measurement names and lines, which may
# say anything. No line is to blame for the request, so no line may be dead-lettered for it.
_REASONS = (
    (
        Kind.UNREADABLE,
        re.compile(
            r"unable to read data|gzip: |flate: |unexpected EOF|gzipped HTTP body contains"
            r"|error decoding gzip stream"
        ),
    ),
    # Enterprise 1.x: the points wait on another node's behalf, and will be written there.
    (Kind.WRITTEN, re.compile(r"hinted handoff queue not empty\Z")),
    # The names of points hold no bare blanks, so the words between cannot be theirs.
    (
        Kind.OUTSIDE_WINDOW,
        re.compile(
            r"dropped \d+ points? outside retention policy.* [1-9]\d* points? outside write window"
            r"|dropped [1-9]\d* points? outside write window",
            re.DOTALL,
        ),
    ),
    (
        Kind.RETENTION,
        re.compile(
            r"points beyond retention policy|dropped \d+ points? outside retention policy"
            r"|shard \d+ is pending deletion|data in table .* is outside of the retention period",
            re.DOTALL,
        ),
    ),
    (
        Kind.CAPACITY,
        re.compile(
            r"max-series-per-database|max-values-per-tag|service limit reached"
            r"|couldn't create (new table|columns in table) ?|Update to schema would exceed"
            r"|Schema update for table '.*' would exceed|Adding a new database would exceed",
            re.DOTALL,
        ),
    ),
    (
        Kind.POINTS,
        re.compile(
            r"unable to parse |field type conflict|invalid tag key|invalid field name"
            r"|key contains invalid|input field |max key length exceeded"
            r"|parsing for line protocol failed|Field type mismatch|schema conflict"
        ),
    ),
    (
        Kind.UNEXPECTED,
        re.compile(r"database is required|invalid precision|invalid consistency|bucket not found"),
    ),
    # 1.x says these with a 500. They are of a bucket or a shard, and others may well be written to:
    # so they must not look like the fault of an entry.
    (Kind.MISSING, re.compile(r"retention policy not found")),
    (Kind.BUSY, re.compile(r"(engine: )?cache-max-memory-size exceeded")),
)
# What a reason may mean although the status says something else. A status that speaks of who we
# are, where we write, or when to come back is believed more than the rest.
_WHATEVER_THE_STATUS = frozenset(
    {
        Kind.WRITTEN,
        Kind.POINTS,
        Kind.RETENTION,
        Kind.OUTSIDE_WINDOW,
        Kind.CAPACITY,
        Kind.LIMIT,
        Kind.UNREADABLE,
        Kind.MISSING,
        Kind.BUSY,
    }
)
_STATUS_IS_BELIEVED = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
# What InfluxDB 3 says of any body that it does not take, for its limits too.
_NAMELESS = "parsing for line protocol failed"
# What InfluxDB 3 sends as plain text.
_PLAIN = re.compile(
    r"(write buffer error|dml handler error|error decoding gzip stream|incoming write was empty)\b"
)
# Limits of hosted servers, which word them in many ways.
_QUOTA = re.compile(
    r"\b(cardinality|quota|plan limit|service limit|limit exceeded|exceeded limit"
    r"|exceeds? (the |number of )?[a-z ]*limit)\b",
    re.IGNORECASE,
)

_NOT_KEPT = re.compile(r"dropped (\d+) points? outside retention policy")
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
    kind = _KINDS.get(status, Kind.UNEXPECTED)
    cause, dropped, wait_seconds = "", None, None
    if kind is Kind.UNEXPECTED and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind, cause = Kind.FAILED, "server_error"
    elif kind is Kind.FAILED:
        cause = "timeout"
    told = _kind_of(reason, status) if own else None
    if told is not None:
        kind, cause = told, ""
        found = _DROPPED.search(message)
        dropped = int(found[1]) if found else None
        if kind is Kind.OUTSIDE_WINDOW and (old := _NOT_KEPT.search(message)) and int(old[1]):
            dropped = None  # of two causes: it says nothing of the lines of one
    if kind is Kind.BUSY:
        sent = headers.get("Retry-After"), headers.get("Date")
        wait_seconds = retry_after_seconds(*sent, now_seconds)
    return Outcome(kind, message, cause or kind.value, status, dropped, wait_seconds)


def describe(outcome: Outcome, bucket: str) -> str:
    """One sentence on a response that is not about points."""
    if outcome.status is None:
        return f"InfluxDB gave no response ({outcome.cause}): {outcome.message}"
    what = {
        Kind.CAPACITY: "is at one of its limits",
        Kind.REFUSED: "refuses our credentials",
        Kind.MISSING: "does not know the bucket or organisation",
        Kind.UNEXPECTED: "sent what no InfluxDB sends to a write",
    }.get(outcome.kind, "failed")
    return f"InfluxDB {what} (bucket {bucket}, status {outcome.status}): {outcome.message}"


def kind_of_reason(reason: str) -> Kind | None:
    """What a sink's own words about a write mean, whatever the status; None if they are unknown.

    :attr:`Kind.LIMIT` is a limit that names what it concerns.
    """
    partial = False
    while prefix := next((one for one in _PREFIXES if reason.startswith(one)), ""):
        partial = partial or prefix == _PARTIAL
        reason = reason.removeprefix(prefix)
    for kind, begins in _REASONS:
        if begins.match(reason):
            return Kind.LIMIT if kind is Kind.CAPACITY and named(reason) else kind
    if _QUOTA.search(own_words(reason)) and partial:
        return Kind.CAPACITY
    return Kind.POINTS if partial else None


def _kind_of(reason: str, status: int) -> Kind | None:
    """What a message of the sink's own makes of a response; None if the status decides."""
    if status in _ABOUT_THE_BODY:
        known = kind_of_reason(reason)
        return known or (Kind.CAPACITY if _QUOTA.search(own_words(reason)) else Kind.POINTS)
    if status < HTTPStatus.BAD_REQUEST or status in _STATUS_IS_BELIEVED:
        return None
    known = kind_of_reason(reason)
    return known if known in _WHATEVER_THE_STATUS else None


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
    if _PLAIN.match(text):
        return text[:_MESSAGE_MAX_CHARS], True
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
