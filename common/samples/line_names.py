"""Names and values of a series as line protocol and every InfluxDB can hold them.

What InfluxDB cannot hold, or holds differently from version to version, is mapped by rules that
keep different inputs different; docs/line-protocol.md states them with examples. Everything else
goes through untouched. Sources: ``models/points.go`` (parsing, reserved keys, valid tokens) and
``pkg/escape`` of InfluxDB 1.6 and 2.7, ``influxdb_line_protocol`` of InfluxDB 3.
"""

from __future__ import annotations

import re
import sys

# The field of a point, unless the layout names another.
FIELD = "value"
# What is remembered of very many keys is not remembered of longer ones.
LONG_KEY_BYTES = 500

# Unicode has a picture for each control character: a line feed becomes U+240A (␊). The picture of
# escape marks a code point in hexadecimal instead, for everything else that is not printable.
_CODE_MARK = "\u241b"
_PICTURES = {chr(code): chr(0x2400 + code) for code in range(0x20) if code != 0x1B}
_PICTURES["\x7f"] = "\u2421"
_BACKSLASH_PICTURE = "\uff3c"
# The pictures themselves are written as code points, so that none is taken for what it stands for.
# InfluxDB takes U+FFFD for a sign of broken text.
_CODED = re.compile(f"[\u2400-\u241f\u2421{_BACKSLASH_PICTURE}\ufffd]")
_CHARACTERS = {picture: character for character, picture in _PICTURES.items()}
_CHARACTERS[_BACKSLASH_PICTURE] = "\\"
_MAPPED = re.compile(f"{_CODE_MARK}([0-9a-f]{{1,6}});|[{''.join(_CHARACTERS)}]")

# A backslash stands for itself in a tag value, except where it could be read as an escape.
_UNSAFE_BACKSLASH = re.compile(r"\\(?=[\\,= ]|\Z)")

# "time" and "value" are columns of every point; InfluxDB keeps names in "_" for itself, and reads
# "#" as a comment. Names that look like mapped ones are mapped too, so that the two stay apart.
_KEY_PREFIX = "label_"
_MEASUREMENT_PREFIX = "metric_"
_RESERVED_KEY = re.compile(f"(?:{_KEY_PREFIX})*(?:time|value|_.*|)", re.DOTALL)
# "time" is no field that InfluxDB takes.
_RESERVED_FIELD = re.compile(f"(?:{_MEASUREMENT_PREFIX})*(?:time|_.*|)", re.DOTALL)
_RESERVED_MEASUREMENT = re.compile(f"(?:{_MEASUREMENT_PREFIX})*(?:[_#].*|)", re.DOTALL)

_MEASUREMENT_SPECIAL = re.compile("[, ]")
_TAG_SPECIAL = re.compile("[,= ]")


def map_measurement(name: str) -> str:
    """The measurement that InfluxDB holds for the name of a metric or query."""
    name = _map_text(name).replace("\\", _BACKSLASH_PICTURE)
    return _MEASUREMENT_PREFIX + name if _RESERVED_MEASUREMENT.fullmatch(name) else name


def map_field(name: str) -> str:
    """The name that InfluxDB holds for a field that is named after a metric."""
    name = _map_text(name).replace("\\", _BACKSLASH_PICTURE)
    return _MEASUREMENT_PREFIX + name if _RESERVED_FIELD.fullmatch(name) else name


def map_key(name: str) -> str:
    """The tag key that InfluxDB holds for the name of a label."""
    name = _map_text(name).replace("\\", _BACKSLASH_PICTURE)
    return _KEY_PREFIX + name if _RESERVED_KEY.fullmatch(name) else name


def map_value(value: str) -> str:
    """The tag value that InfluxDB holds for the value of a label."""
    value = _map_text(value)
    return _UNSAFE_BACKSLASH.sub(_BACKSLASH_PICTURE, value) if "\\" in value else value


def original(text: str) -> str:
    """The reverse of what happens to characters while names and values are mapped.

    What mapping never makes stays as it is: somebody else wrote it.
    """
    return _MAPPED.sub(_original_character, text)


def escape_measurement(name: str) -> str:
    """A mapped measurement as line protocol writes it."""
    return _MEASUREMENT_SPECIAL.sub(r"\\\g<0>", name)


def escape_tag(text: str) -> str:
    """A mapped tag key or value as line protocol writes it."""
    return _TAG_SPECIAL.sub(r"\\\g<0>", text)


def _map_text(text: str) -> str:
    """``text`` in printable characters only; nearly always the very same."""
    if text.isprintable() and (text.isascii() or not _CODED.search(text)):
        return text
    return "".join(map(_map_character, text))


def _map_character(character: str) -> str:
    if picture := _PICTURES.get(character):
        return picture
    if character.isprintable() and not _CODED.match(character):
        return character
    return f"{_CODE_MARK}{ord(character):x};"


def _original_character(mapped: re.Match[str]) -> str:
    if mapped[1] is None:
        return _CHARACTERS[mapped[0]]
    code = int(mapped[1], 16)
    if code > sys.maxunicode or 0xD800 <= code < 0xE000:  # no text has half of a surrogate pair
        return mapped[0]
    character = chr(code)
    return character if _map_character(character) == mapped[0] else mapped[0]


def with_field(key: bytes, field: bytes) -> bytes:
    """A series key and the escaped name of a field other than :data:`FIELD`, as one."""
    return b"%s %s" % (key, field)


def split_field(key: bytes) -> tuple[bytes, bytes]:
    """The reverse; a series key alone has an empty field.

    Blanks of measurement and tags are escaped, and no text of theirs ends in a lone backslash.
    """
    at = key.find(b" ")
    while at >= 0:
        series = key[:at]
        if not series.endswith(b"\\") or (at - len(series.rstrip(b"\\"))) % 2 == 0:
            return series, key[at + 1 :]
        at = key.find(b" ", at + 1)
    return key, b""
