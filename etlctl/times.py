"""Time: as an operator types it and reads it, and for commands that wait."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from common.durations import parse_duration_ms
from common.errors import EtlError

# Without a sign, too, where all numbers have units.
_RELATIVE = re.compile(r"(?:now)?-(\w+)|((?:[0-9]+(?:ms|[ywdhms]))+)", re.ASCII)
_UNIX = re.compile(r"\d{1,12}(?:\.\d+)?", re.ASCII)

# Below year 10000: what datetime, RFC 3339 and both servers can say.
LATEST_MS = 253_402_300_799_999


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, for a command that waits: both in seconds."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class BadTime(EtlError):
    """The text is not a point in time."""


def parse_time(text: str, now_ms: Callable[[], int]) -> int:
    """Milliseconds since the epoch for ``text``.

    Accepted: RFC 3339 with a zone (``2024-05-01T12:00:00Z``, ``…+02:00``), seconds since the
    epoch (``1714564800`` or with a fraction), ``now``, and a duration before now (``-1h``,
    ``-1h30m``, ``now-90s``, ``2y``). ``now_ms`` is called only for the relative forms.

    Raises :class:`BadTime`.
    """
    word = text.strip()
    if word == "now":
        return now_ms()
    if match := _RELATIVE.fullmatch(word):
        try:
            return _checked(now_ms() - parse_duration_ms(match[1] or match[2]), text)
        except ValueError as error:
            raise BadTime(str(error)) from None
    if _UNIX.fullmatch(word):
        seconds, _, fraction = word.partition(".")
        return _checked(int(seconds) * 1_000 + int(fraction.ljust(3, "0")[:3]), text)
    try:
        moment = datetime.fromisoformat(word)
    except ValueError:
        raise BadTime(
            f"{text!r} is not a time: give RFC 3339 (2024-05-01T12:00:00Z), seconds since the"
            " epoch, 'now', or a duration before now (-1h)"
        ) from None
    if moment.tzinfo is None:
        raise BadTime(f"{text!r} names no time zone: end it with Z or an offset such as +02:00")
    try:
        return _checked(round(moment.timestamp() * 1_000), text)
    except OverflowError:
        raise BadTime(f"{text!r} is out of range") from None


def _checked(ms: int, text: str) -> int:
    if not 0 <= ms <= LATEST_MS:
        raise BadTime(f"{text!r} is out of range: before 1970 or after the year 9999")
    return ms


def rfc3339(ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339 in UTC, with a fraction only where there is one."""
    moment = datetime.fromtimestamp(ms // 1_000, UTC)
    fraction = f".{ms % 1_000:03d}" if ms % 1_000 else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"
