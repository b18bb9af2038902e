"""A strict parser of the line protocol that the project may send, written from InfluxDB's rules.

It shares no code with the encoder. It accepts only what InfluxDB 1.x, 2.x and 3 all read in the
same way, so a line that it refuses is one that some InfluxDB refuses, or reads as something else.
Rules: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/ and the behaviour of
InfluxDB's ``models/points.go``.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from dataclasses import dataclass

RESERVED_TAG_KEYS = {b"time", b"_field", b"_measurement", b"\x00", b"\xff"}
MAX_KEY_BYTES = 65_535
MIN_NS, MAX_NS = -(2**63) + 2, 2**63 - 2

_MEASUREMENT = re.compile(rb"(?:[^\\, \n]|\\[, ])+")
_TAG_KEY = re.compile(rb"(?:[^\\,= \n]|\\[,= ])+")
# In a tag value a backslash may also stand for itself, before a character that is not escaped.
_TAG_VALUE = re.compile(rb"(?:[^\\,= \n]|\\[,= ]|\\(?=[^\\,= \n]))+")
_FLOAT = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_TIMESTAMP = re.compile(rb"-?[0-9]+")


class Refused(Exception):
    """The line is not what every InfluxDB would read alike."""


@dataclass(frozen=True)
class Point:
    measurement: str
    tags: tuple[tuple[str, str], ...]
    value: float
    timestamp_ms: int

    @property
    def value_bits(self) -> int:
        bits: int = struct.unpack("<q", struct.pack("<d", self.value))[0]
        return bits


def parse_lines(payload: bytes) -> list[Point]:
    """Points of a whole body: newline-terminated, no empty lines, framed the same by InfluxDB."""
    if not payload:
        return []
    if not payload.endswith(b"\n"):
        raise Refused("the last line has no line break")
    lines = payload[:-1].split(b"\n")
    if list(scanned_lines(payload)) != lines:
        raise Refused("InfluxDB would cut these lines elsewhere")
    return [parse_line(line) for line in lines]


def parse_line(line: bytes) -> Point:
    name, position = _take(_MEASUREMENT, line, 0, "measurement")
    if name[:1] in (b"_", b"#"):
        raise Refused(f"measurement {name!r} is reserved or a comment")
    tags: list[tuple[bytes, bytes]] = []
    while line[position : position + 1] == b",":
        key, position = _take(_TAG_KEY, line, position + 1, "tag key")
        position = _expect(b"=", line, position)
        value, position = _take(_TAG_VALUE, line, position, "tag value")
        tags.append((key, value))
    key_bytes = position
    if key_bytes + 4 + len(b"value") > MAX_KEY_BYTES:
        raise Refused(f"max key length exceeded: {key_bytes}")
    position = _expect(b" value=", line, position)
    number, position = _take(_FLOAT, line, position, "field value")
    position = _expect(b" ", line, position)
    timestamp, position = _take(_TIMESTAMP, line, position, "timestamp")
    if position != len(line):
        raise Refused(f"something follows the timestamp: {line[position:]!r}")
    return Point(
        _token(name, b", "),
        _tags(tags),
        _finite(number),
        _in_range(int(timestamp)),
    )


def scanned_lines(payload: bytes) -> list[bytes]:
    """How InfluxDB cuts a body into lines: it skips what follows a backslash, and once it has seen
    a bare space it takes line breaks inside quotes for text when an equals sign came before."""
    lines, start, position = [], 0, 0
    quoted = in_fields = False
    equals = commas = 0
    while position < len(payload):
        byte = payload[position : position + 1]
        if byte == b"\\" and position + 2 < len(payload):
            position += 2
            continue
        in_fields = in_fields or byte == b" "
        if in_fields and byte == b"=" and not quoted:
            equals += 1
        elif in_fields and byte == b"," and not quoted:
            commas += 1
        elif in_fields and byte == b'"' and equals > commas:
            quoted = not quoted
        elif byte == b"\n" and not quoted:
            lines.append(payload[start:position])
            start = position + 1
            in_fields = False
            equals = commas = 0
        position += 1
    if start < len(payload):
        lines.append(payload[start:])
    return lines


def _take(pattern: re.Pattern[bytes], line: bytes, position: int, what: str) -> tuple[bytes, int]:
    match = pattern.match(line, position)
    if match is None:
        raise Refused(f"{what} expected at {position}: {line[position : position + 60]!r}")
    return match[0], match.end()


def _expect(text: bytes, line: bytes, position: int) -> int:
    if not line.startswith(text, position):
        raise Refused(f"{text!r} expected at {position}: {line[position : position + 60]!r}")
    return position + len(text)


def _tags(pairs: list[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    keys = [key for key, _ in pairs]
    if keys != sorted(set(keys)):
        raise Refused(f"tags are not sorted, or double: {keys!r}")
    for key in keys:
        if key in RESERVED_TAG_KEYS or key == b"value" or key.startswith(b"_"):
            raise Refused(f"reserved tag key {key!r}")
    return tuple((_token(key, b",= "), _token(value, b",= ")) for key, value in pairs)


def _token(written: bytes, special: bytes) -> str:
    for byte in special:
        written = written.replace(bytes((0x5C, byte)), bytes((byte,)))
    text = written.decode("utf-8")
    for character in text:
        category = unicodedata.category(character)
        if (category[0] in "CZ" and character != " ") or character == "\ufffd":
            raise Refused(f"{character!r} ({category}) is not printable")
    return text


def _finite(number: bytes) -> float:
    value = float(number)
    if value in (float("inf"), float("-inf")):
        raise Refused(f"{number!r} is out of range")
    return value


def _in_range(timestamp_ms: int) -> int:
    if not MIN_NS <= timestamp_ms * 1_000_000 <= MAX_NS:
        raise Refused(f"time {timestamp_ms} ms is out of range")
    return timestamp_ms
