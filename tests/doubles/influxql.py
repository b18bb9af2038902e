"""The InfluxQL that the loader asks for points of its own, over what a stand-in holds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.doubles.influx_engine import Bucket, Response

_ENDS = ((">", -(10**18)), ("<=", 10**19))


def response(series: list[dict[str, Any]]) -> Response:
    """One result; an empty one has no series."""
    result = {"statement_id": 0} | ({"series": series} if series else {})
    return 200, {}, json.dumps({"results": [result]}).encode()


def select(bucket: Bucket, statement: str) -> Response:
    """``SELECT "value"`` or ``last("value")``, of one measurement, by tags and by time."""
    (measurement,) = re.findall(r'FROM "([^"]+)"', statement)
    wanted = dict(re.findall(r"\"(\w+)\" = '([^']*)'", statement))
    bounds = dict(re.findall(r"time (>|<=) (\d+)", statement))
    after_ms, until_ms = (int(bounds.get(one, end)) // 1_000_000 for one, end in _ENDS)
    rows: dict[str, list[list[Any]]] = {}
    for (name, pairs, field, time_ms), value in sorted(bucket.points.items()):
        tags = dict(pairs)
        if (
            (name, field) == (measurement, "value")
            and _has(tags, wanted)
            and after_ms < time_ms <= until_ms
        ):
            rows.setdefault(tags.get("pipeline", ""), []).append([time_ms, value])
    last = "last(" in statement
    return response(
        [
            {
                "name": measurement,
                **({"tags": {"pipeline": pipeline}} if "GROUP BY" in statement else {}),
                "columns": ["time", "last" if last else "value"],
                "values": found[-1:] if last else found,
            }
            for pipeline, found in rows.items()
        ]
    )


def _has(tags: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(tags.get(name, "") == value for name, value in wanted.items())
