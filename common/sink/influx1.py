"""InfluxDB 1.x: how it is recognised, and how it writes the duration of a retention policy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf

VERSION_HEADER = "X-Influxdb-Version"

_VERSION = re.compile(r"v?1\.")
_DURATION = re.compile(r"(\d+)h(\d+)m(\d+)s|0s", re.ASCII)


def is_1(headers: Mapping[str, str]) -> bool:
    """Whether the response to a ping is InfluxDB 1.x': 2.x and 3 name another version."""
    return _VERSION.match(headers.get(VERSION_HEADER, "")) is not None


def kept_seconds(duration: object) -> float:
    """How long points are kept by the ``duration`` of a retention policy; infinity for ever.

    2.x writes it so, too. Infinity also for a text of another form.
    """
    found = _DURATION.fullmatch(str(duration))
    hours, minutes, seconds = map(int, found.groups("0")) if found else (0, 0, 0)
    return hours * 3_600 + minutes * 60 + seconds or inf
