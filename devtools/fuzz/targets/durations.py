"""Durations, sizes, and points in time as operators type them."""

from __future__ import annotations

from typing import Any

from common.durations import format_duration, parse_duration_ms, parse_size_bytes
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Target, require
from etlctl.times import BadTime, parse_time, rfc3339

_UNITS_MS = {
    "y": 31_536_000_000,
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_LONGEST_MS = 9_223_372_036_854
_SIZES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_TIMES = (
    *("now", "-1h30m", "now-90s", "1714564800.25", "99999999999", "2024-05-01T12:00:00Z"),
    *("2024-05-01T14:00:00.250+02:00", "0001-01-01T00:00:00+23:59", "2024-W18-3T12Z"),
)
_NOW_MS = 1_700_000_000_123
_LATEST_MS = 253_402_300_799_999


class Durations(Target):
    """Accepted exactly when the grammar says so, and worth exactly the sum of its parts."""

    name = "durations"
    weight = 15

    def make(self, m: Mutator) -> str:
        """Parts in some order, then damage."""
        units = list(_UNITS_MS)
        parts = [u for u in units if m.chance(0.3)] or ["s"]
        text = "".join(f"{m.pick((0, 1, 5, 15, 292, 10**9, 10**19))}{unit}" for unit in parts)
        return m.text(text, units, rounds=m.below(4))

    def check(self, case: Any) -> bool:
        """Agrees with a plain scan of the text, and survives formatting."""
        expected = _duration_ms(case)
        try:
            found = parse_duration_ms(case)
        except ValueError:
            require(expected is None, "a duration is refused", expected)
            return False
        require(found == expected, "another duration", found, expected)
        require(parse_duration_ms(format_duration(found)) == found, "changed by formatting")
        return True


def _duration_ms(text: str) -> int | None:
    if text == "0":
        return 0
    total_ms, position, ranks = 0, 0, list(_UNITS_MS)
    while position < len(text):
        end = position
        while end < len(text) and text[end] in "0123456789":
            end += 1
        unit = "ms" if text.startswith("ms", end) else text[end : end + 1]
        if end == position or end - position > 20 or unit not in ranks:
            return None
        ranks = ranks[ranks.index(unit) + 1 :]
        total_ms += int(text[position:end]) * _UNITS_MS[unit]
        position = end + len(unit)
    return total_ms if text and total_ms <= _LONGEST_MS else None


class Sizes(Target):
    """The same for sizes in bytes."""

    name = "sizes"
    weight = 5

    def make(self, m: Mutator) -> str:
        """A number, a space perhaps, a unit; then damage."""
        text = f"{m.pick((0, 1, 64, 10**9))}{m.pick(('', ' '))}{m.pick(list(_SIZES))}"
        return m.text(text, list(_SIZES), rounds=m.below(4))

    def check(self, case: Any) -> bool:
        """Agrees with taking the digits off the front."""
        rest = case.lstrip("0123456789")
        digits, unit = case[: len(case) - len(rest)], rest.removeprefix(" ")
        known = unit in _SIZES and bool(digits) and len(case) <= 20 and (unit != "" or not rest)
        try:
            found = parse_size_bytes(case)
        except ValueError:
            require(not known, "a size is refused")
            return False
        require(known and found == int(digits) * _SIZES[unit], "another size", found)
        return True


class Times(Target):
    """A point in time or :class:`BadTime`; what is printed is read back."""

    name = "times"
    weight = 10

    def make(self, m: Mutator) -> str:
        """One of the forms, damaged."""
        return m.text(m.pick(_TIMES), ("now", "-", "T", "Z", "+02:00", "W", ":", "."))

    def check(self, case: Any) -> bool:
        """Within what all servers can say."""
        try:
            found = parse_time(case, lambda: _NOW_MS)
        except BadTime:
            return False
        require(0 <= found <= _LATEST_MS, "out of range", found)
        require(parse_time(rfc3339(found), lambda: 0) == found, "changed by printing")
        return True
