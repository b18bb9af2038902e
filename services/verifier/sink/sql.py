"""The points of a measurement of InfluxDB 3, read by SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from common.errors import SinkError
from common.samples.layout import NAME_TAG
from common.sink.http_session import SinkSession
from common.sink.select import TIME_MS, between_sql, name_of, text_of
from common.sink.sql import TAG, rows_of
from services.verifier.points import Column, known_shape
from services.verifier.sink.rows import Rows, values_of


class Wanted(NamedTuple):
    """``fields`` of points in ``(start_ms, end_ms]`` with all of ``tags``, and one of ``names``."""

    fields: Sequence[str]
    tags: Mapping[str, str]
    names: Collection[str]
    start_ms: int
    end_ms: int


def read(
    session: SinkSession,
    database: str,
    measurement: str,
    known: Mapping[str, str],
    wanted: Wanted,
    rows: Rows,
) -> None:
    """Add what the measurement holds; ``known``: its columns. Raises :class:`SinkError`."""
    fields = [name for name in wanted.fields if known.get(name, TAG) != TAG]
    keys = [name for name, type_ in known.items() if type_ == TAG]
    if not fields or not known.keys() >= wanted.tags.keys():
        return
    if wanted.names and NAME_TAG not in known:
        return
    conditions = [f"{name_of(tag)} = {text_of(text)}" for tag, text in wanted.tags.items()]
    conditions += between_sql(wanted.start_ms, wanted.end_ms)
    conditions.append("(" + " OR ".join(f"{name_of(name)} IS NOT NULL" for name in fields) + ")")
    if wanted.names:
        conditions.append(f"{name_of(NAME_TAG)} IN ({', '.join(map(text_of, wanted.names))})")
    columns = [TIME_MS, *map(name_of, fields), *map(name_of, keys)]
    statement = (
        f"SELECT {', '.join(columns)} FROM {name_of(measurement)}"
        f' WHERE {" AND ".join(conditions)} ORDER BY "time"'
    )
    found: dict[tuple[str | None, ...], list[list[Any]]] = {}
    for row in rows_of(session, database, statement):
        point = [row.get("time"), *map(row.get, wanted.fields)]
        found.setdefault(tuple(map(row.get, keys)), []).append(point)
    with known_shape(f"InfluxDB at {session.url}", SinkError):
        for texts, points in found.items():
            tags = {key: str(text) for key, text in zip(keys, texts, strict=True) if text}
            times = np.array([point[0] for point in points], dtype=np.int64)
            rows.take(measurement, tags, Column(times, values_of(points)))
