"""Durations and sizes as people write them.

Every duration in a setting is a number of seconds (``30``, ``0.5``) or follows Prometheus
(``1y2w3d4h5m6s7ms``, units in that order, each at most once, where a year is 365 days; see
``<duration>`` in https://prometheus.io/docs/prometheus/latest/configuration/configuration/).
"""

from __future__ import annotations

import math
import re

_MS_PER_UNIT = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>[0-9]+){unit})?" for unit in _MS_PER_UNIT))
# Prometheus keeps durations in 64-bit nanoseconds, some 292 years.
_MAX_MS = (2**63 - 1) // 1_000_000
# For a number of seconds too: milliseconds of any more may be no finite number.
LONGEST_SECONDS = 292 * 365 * 86_400

_BYTES_PER_UNIT = {
    "B": 1,
    "kB": 1_000,
    "MB": 1_000_000,
    "GB": 1_000_000_000,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_SIZE = re.compile(r"([0-9]+) ?(" + "|".join(_BYTES_PER_UNIT) + r")")


def parse_duration_ms(text: str) -> int:
    """Milliseconds in a duration in Prometheus' syntax.

    Raises :class:`ValueError` for anything else, and for more than 292 years.
    """
    if text == "0":
        return 0
    match = _DURATION.fullmatch(text)
    # Twenty digits are beyond the limit in every unit; int() refuses thousands of them.
    if not match or not text or any(part and len(part) > 20 for part in match.groups()):
        raise ValueError(f"{text!r:.60} is not a duration such as 15s, 1m30s or 14d")
    total_ms = sum(
        int(count) * _MS_PER_UNIT[unit] for unit, count in match.groupdict().items() if count
    )
    if total_ms > _MAX_MS:
        raise ValueError(f"{text!r:.60} is longer than 292 years")
    return total_ms


def parse_seconds(text: str) -> float:
    """Seconds in a duration: a number of seconds, or a duration in Prometheus' syntax.

    Raises :class:`ValueError` for anything else, and for more than 292 years.
    """
    try:
        seconds = float(text)
    except ValueError:
        try:
            return parse_duration_ms(text) / 1000
        except ValueError as error:
            raise ValueError(f"{error} (or a number of seconds)") from None
    if LONGEST_SECONDS < seconds < math.inf:
        raise ValueError("is longer than 292 years")
    return seconds


def format_duration(duration_ms: int) -> str:
    """The shortest Prometheus duration that is exactly ``duration_ms`` (not negative).

    Only units that Prometheus' query language shares with its configuration are used, so the
    text can stand inside a range selector.
    """
    if duration_ms < 0:
        raise ValueError(f"{duration_ms} ms is negative")
    if duration_ms == 0:
        return "0s"
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, duration_ms = divmod(duration_ms, _MS_PER_UNIT[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def parse_size_bytes(text: str) -> int:
    """Bytes in a size such as ``512``, ``64KiB``, ``256MiB`` or ``10MB``.

    Raises :class:`ValueError` for anything else.
    """
    if len(text) > 20:
        raise ValueError(f"{text!r:.60} is not a size such as 512, 64KiB or 256MiB")
    if text.isascii() and text.isdigit():
        return int(text)
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a size such as 512, 64KiB or 256MiB")
    return int(match[1]) * _BYTES_PER_UNIT[match[2]]
