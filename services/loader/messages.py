"""What the texts of sinks name: lines, measurements, tags.

A name is a hint of where to look, never a verdict: what is named is posted again by itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_QUOTE = "unable to parse '"
_QUOTE_END = "': "

_OF_CONFLICT = re.compile(r'input field "(.*?)" on measurement "(.*)" is ')
# 1.x, with Go's quotes.
_OF_VALUES = re.compile(r'\bmeasurement=("(?:[^"\\]|\\.)*") tag=("(?:[^"\\]|\\.)*")')
# IOx and InfluxDB 3.
_OF_COLUMNS = re.compile(
    r"couldn't create columns in table `(.*)`; table contains "
    r"|Schema update for table '(.*)' would exceed "
    r"|data in table (.*) is outside of the retention period"
)
# From a quote to the last of its kind, because what is quoted may hold quotes itself.
_QUOTED = re.compile(r"""".*"|`.*`|(?<!\w)'.*'(?!\w)""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Named:
    """A measurement, and perhaps one of its tags or fields, as lines spell them."""

    measurement: bytes
    tag: bytes | None = None
    field: bytes | None = None

    def holds(self, line: bytes) -> bool:
        """Whether the line is of this measurement, and has the tag and the field."""
        if not line.startswith((self.measurement + b",", self.measurement + b" ")):
            return False
        if self.field is not None and not (
            b" " + self.field + b"=" in line or b"," + self.field + b"=" in line
        ):
            return False
        return self.tag is None or b"," + self.tag + b"=" in line


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


def named(message: str) -> Named | None:
    """What a message about a conflict, a limit or an age names, if it names something."""
    if found := _OF_VALUES.search(message):
        try:
            measurement, tag = json.loads(found[1]), json.loads(found[2])
        except ValueError:  # an escape that only Go has
            return None
        return Named(_spelled(measurement), _spelled_key(tag))
    if found := _OF_CONFLICT.search(message):
        return Named(_spelled(found[2]), field=_spelled_key(found[1]))
    found = _OF_COLUMNS.search(message)
    name = next(filter(None, found.groups()), None) if found else None
    return None if name is None else Named(_spelled(name))


def own_words(message: str) -> str:
    """The message without what it quotes."""
    return _QUOTED.sub("", message)


def _spelled_key(name: str) -> bytes:
    return _spelled(name).replace(b"=", b"\\=")


def _spelled(name: str) -> bytes:
    return name.encode("utf-8", "replace").replace(b",", b"\\,").replace(b" ", b"\\ ")
