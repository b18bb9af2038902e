"""What InfluxDB 2 does with a write, as a real 2.7.12 was measured to do it, in this process."""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isinf

Response = tuple[int, dict[str, str], bytes]
Key = tuple[str, tuple[tuple[str, str], ...], str, int]  # measurement, tags, field, time in ms
Value = float | int | bool | str


class Unsigned(int):
    """An integer of InfluxDB's fourth kind of number."""


RESERVED_TAG_KEYS = ("time", "_field", "_measurement")

TOKEN = "fake-token"
ORG = "fake-org"

_MAX_STRING_BYTES = 1 << 20
_MAX_KEY_BYTES = 65535
# What the message about age ends with.
_WHERE = " for database: 9f282d63c7d3a5c0 for retention policy: autogen"
_PER_MS = {"ns": 1_000_000, "us": 1_000, "ms": 1}


@dataclass
class Bucket:
    """Points of one bucket, and the type each field was first written with."""

    retention_seconds: float | None = None
    points: dict[Key, Value] = field(default_factory=dict)
    types: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """One parsed line."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    fields: tuple[tuple[str, Value], ...]
    time_ms: int


class Engine:
    """What InfluxDB 2 does with a write. ``clock`` is its wall clock, in seconds."""

    def __init__(self, *buckets: str, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.buckets = {name: Bucket() for name in buckets}
        self.token = TOKEN
        self.active = True
        self.may_write = True
        self.may_read = True
        self.max_inflated_bytes: int | None = None
        self.max_series: int | None = None
        # The message of a refusal as it would be, to the message as it is: for a sink whose message
        # helps less than InfluxDB's.
        self.say: Callable[[str], str] = lambda message: message

    def write(self, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Response:
        """The response to ``POST /api/v2/write``; points are kept."""
        if headers.get("Authorization") != f"Token {self.token}":
            return error_response(401, "unauthorized", "unauthorized access")
        precision = query.get("precision", "ns")
        if precision not in _PER_MS:
            return error_response(
                400, "invalid", "invalid precision; valid precision units are ns, us, ms, and s"
            )
        gzipped = headers.get("Content-Encoding") == "gzip"
        if gzipped and not body.startswith(b"\x1f\x8b"):
            # The header is read before anything else.
            return error_response(
                500, "internal error", "An internal error has occurred - check server logs"
            )
        if query.get("org") != ORG:
            return error_response(
                404, "not found", f'organization name "{query.get("org")}" not found'
            )
        bucket = self.buckets.get(query.get("bucket", ""))
        if bucket is None:
            return error_response(404, "not found", f'bucket "{query.get("bucket")}" not found')
        if not self.active:
            return error_response(
                403, "forbidden", "insufficient permissions for write: token is inactive"
            )
        if not self.may_write:
            return error_response(403, "forbidden", "insufficient permissions for write")
        if gzipped:
            try:
                body = first_member(body)
            except EOFError:
                return error_response(500, "internal error", "unable to read data: unexpected EOF")
            except (OSError, zlib.error):
                return error_response(400, "invalid", "unable to read data: gzip: invalid checksum")
        if self.max_inflated_bytes is not None and len(body) > self.max_inflated_bytes:
            return error_response(
                413, "request too large", "unable to read data: points batch is too large"
            )
        return self._take(bucket, body, precision)

    def _take(self, bucket: Bucket, body: bytes, precision: str) -> Response:
        points, complaints = [], []
        for line in lines_of(body):
            line = line.lstrip(b" \t\0")
            if not line or line.startswith(b"#"):
                continue
            try:
                points.append(parse(line, int(self.clock() * 1000), precision))
            except ValueError as error:
                complaints.append(f"unable to parse '{line.decode('utf-8', 'replace')}': {error}")
        if complaints:
            return self._refuse(400, "invalid", "\n".join(complaints))
        reason, dropped = "", 0
        kept = self._young(bucket, points)
        expired = len(points) - len(kept)
        for point in kept:
            why = self._keep(bucket, point)
            if why:
                reason, dropped = reason or why, dropped + 1
        if not dropped and expired:
            dropped = expired
            reason = self._too_old(bucket, [point for point in points if point not in kept])
        if dropped:
            return self._refuse(
                422,
                "unprocessable entity",
                f"failure writing points to database: partial write: {reason} dropped={dropped}"
                + (_WHERE if dropped == expired else ""),
            )
        return 204, {}, b""

    def _refuse(self, status: int, code: str, message: str) -> Response:
        return error_response(status, code, self.say(message))

    def _too_old(self, bucket: Bucket, points: list[Point]) -> str:
        assert bucket.retention_seconds is not None
        bound = f"{datetime.fromtimestamp(self.clock() - bucket.retention_seconds, UTC):%FT%TZ}"
        ends = (min(points, key=_time_of), max(points, key=_time_of))
        oldest, newest = (
            f"{point.measurement} at {datetime.fromtimestamp(point.time_ms / 1000, UTC):%FT%TZ} "
            f"dropped because it violates a Retention Policy Lower Bound at {bound}"
            for point in ends
        )
        minutes, seconds = divmod(int(bucket.retention_seconds), 60)
        return (
            f"dropped {len(points)} points outside retention policy of duration "
            f"{minutes // 60}h{minutes % 60}m{seconds}s - oldest point {oldest}, "
            f"newest point {newest}"
        )

    def _young(self, bucket: Bucket, points: list[Point]) -> list[Point]:
        if bucket.retention_seconds is None:
            return points
        oldest_ms = (self.clock() - bucket.retention_seconds) * 1000
        return [point for point in points if point.time_ms >= oldest_ms]

    def _keep(self, bucket: Bucket, point: Point) -> str:
        """Keep a point, or say why not."""
        for name, value in point.fields:
            if isinstance(value, str) and len(value) > _MAX_STRING_BYTES:
                return (
                    f'input field "{name}" on measurement "{point.measurement}" is too long, '
                    f"{len(value)} > {_MAX_STRING_BYTES}"
                )
            type_ = _type(value)
            known = bucket.types.get((point.measurement, name), type_)
            if known != type_:
                return (
                    f'field type conflict: input field "{name}" on measurement '
                    f'"{point.measurement}" is type {type_}, already exists as type {known}'
                )
        if self.max_series is not None:
            series = {key[:2] for key in bucket.points}
            if len(series | {(point.measurement, point.tags)}) > self.max_series:
                return f"max-series-per-database limit exceeded: ({self.max_series})"
        for name, value in point.fields:
            bucket.types.setdefault((point.measurement, name), _type(value))
            bucket.points[point.measurement, point.tags, name, point.time_ms] = value
        return ""


def error_response(status: int, code: str, message: str) -> Response:
    body = json.dumps({"code": code, "message": message}).encode()
    return (
        status,
        {"Content-Type": "application/json; charset=utf-8", "X-Platform-Error-Code": code},
        body,
    )


def _type(value: Value) -> str:
    return _TYPES[type(value)]


_TYPES: dict[type, str] = {
    float: "float",
    int: "integer",
    Unsigned: "unsigned",
    bool: "boolean",
    str: "string",
}


def _time_of(point: Point) -> int:
    return point.time_ms


# -- line protocol ------------------------------------------------------------------------------

_NUMBER = re.compile(r"-?(\d+\.?\d*([eE][-+]?\d+)?|\.\d+)")
_BOOLEANS = {"t": True, "T": True, "true": True, "True": True, "TRUE": True} | {
    "f": False, "F": False, "false": False, "False": False, "FALSE": False
}  # fmt: skip


def lines_of(body: bytes) -> list[bytes]:
    """The lines of a body: no line ends at a line break that is escaped, or in a string."""
    if b"\\\n" not in body and b'"' not in body:
        return body.split(b"\n")
    found, start, index, quoted, in_fields = [], 0, 0, False, False
    while index < len(body):
        char = body[index : index + 1]
        if char == b"\\":
            index += 2
            continue
        if char == b" " and not quoted:
            in_fields = True
        elif char == b'"' and in_fields:
            quoted = not quoted
        elif char == b"\n" and not quoted:
            found.append(body[start:index])
            start, in_fields = index + 1, False
        index += 1
    return [*found, body[start:]]


def parse(line: bytes, now_ms: int, precision: str = "ms") -> Point:
    """One line; ``ValueError`` with InfluxDB's message about it."""
    text = line.decode("utf-8", "surrogateescape")
    key, text = _until(text, " ")
    if len(key.encode("utf-8", "surrogateescape")) > _MAX_KEY_BYTES:
        raise ValueError(f"max key length exceeded: {len(key)} > {_MAX_KEY_BYTES}")
    parts = _split(key, ",")
    if not parts[0]:
        raise ValueError("missing measurement")
    tags = []
    for part in parts[1:]:
        pair = _split(part, "=")
        if not pair[0]:
            raise ValueError("missing tag key")
        if len(pair) < 2 or not pair[1]:
            raise ValueError("missing tag value")
        if len(pair) > 2:
            raise ValueError("invalid tag format")
        tags.append((_plain(pair[0]), _plain(pair[1])))
    for name, _ in tags:
        if name in RESERVED_TAG_KEYS:
            raise ValueError(f'cannot use reserved tag key "{name}"')
    if len({name for name, _ in tags}) != len(tags):
        raise ValueError("duplicate tags")
    fields_text, time_text = _until(text, " ", quotes=True)
    if not fields_text:
        raise ValueError("missing fields")
    fields = []
    for part in _split(fields_text, ",", quotes=True):
        name, value = _until(part, "=")
        if not name:
            raise ValueError("missing field key")
        if not value:
            raise ValueError("missing field value" if "=" in part else "invalid field format")
        fields.append((_plain(name), _value(value)))
    return Point(
        _plain(parts[0]), tuple(sorted(tags)), tuple(fields), _time_ms(time_text, now_ms, precision)
    )


def _value(text: str) -> Value:
    if text.startswith('"'):
        if len(text) < 2 or not text.endswith('"'):
            raise ValueError("unbalanced quotes")
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if text[0] not in "0123456789.-Nn":
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        raise ValueError("invalid boolean")
    if re.fullmatch(r"-?\d+i", text):
        return int(text[:-1])
    if re.fullmatch(r"\d+u", text):
        return Unsigned(text[:-1])
    if not _NUMBER.fullmatch(text):
        raise ValueError("invalid number")
    value = float(text)
    if isinf(value):
        raise ValueError("invalid float")
    return value


def _time_ms(text: str, now_ms: int, precision: str) -> int:
    text = text.strip(" ")
    if not text:
        return now_ms
    if not re.fullmatch(r"-?\d+", text):
        raise ValueError("bad timestamp")
    if abs(int(text)) * (1_000_000 // _PER_MS[precision]) >= 2**63 - 1:
        raise ValueError("time outside range -9223372036854775806 - 9223372036854775806")
    return int(text) // _PER_MS[precision]


def _until(text: str, end: str, *, quotes: bool = False) -> tuple[str, str]:
    """``text`` before the first unescaped ``end``, and after it."""
    quoted = False
    index = 0
    while index < len(text):
        char = text[index]
        if char == "\\" and index + 1 < len(text):
            index += 2
            continue
        if quotes and char == '"':
            quoted = not quoted
        if char == end and not quoted:
            return text[:index], text[index + 1 :]
        index += 1
    return text, ""


def _split(text: str, by: str, *, quotes: bool = False) -> list[str]:
    parts = []
    while True:
        part, rest = _until(text, by, quotes=quotes)
        parts.append(part)
        if len(part) == len(text):
            return parts
        text = rest


def _plain(text: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", text)


def first_member(body: bytes) -> bytes:
    """The content of the first gzip member: InfluxDB 3 reads no further, and answers 204.

    Raises :class:`EOFError` and :class:`zlib.error` as :func:`gzip.decompress` does.
    """
    inflater = zlib.decompressobj(31)  # 15, and 16 for gzip's header
    content = inflater.decompress(body)
    if not inflater.eof:
        raise EOFError
    return content
