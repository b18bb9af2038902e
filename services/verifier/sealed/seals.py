"""The seals of a feed in the sink: what was loaded of each window ``(start_ms, end_ms]``.

A point of ``etl_seal`` at the window's end, with the tags ``pipeline``, ``query``, ``tier`` and the
fields ``start_ms``, ``points``, ``digest`` (see :mod:`common.samples.seal`; ``unknown`` where none
is known), ``sealed_ms`` and ``window``. One with the tag ``part=replay`` says what was loaded later
of the same window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.samples.seal import Digest
from services.verifier.sink import Sink, quote_text

MEASUREMENT = "etl_seal"
_PAGE_SEALS = 50_000


@dataclass(frozen=True, slots=True)
class Seal:
    """``digest`` is that of what was loaded; None where it is not known, or cannot be read.

    ``window`` is the id of the extraction.
    """

    start_ms: int
    end_ms: int
    digest: Digest | None
    sealed_ms: int
    window: str = ""


def read_seals(
    sink: Sink, pipeline: str, query: str, tier: str, after_ms: int
) -> tuple[list[Seal], list[Seal]]:
    """The seals of windows that end after ``after_ms``, and of what was replayed of them.

    Raises :class:`~common.errors.SinkError`.
    """
    windows: dict[int, Seal] = {}
    replays: dict[int, Seal] = {}
    feed = {"pipeline": pipeline, "query": query, "tier": tier}
    conditions = "".join(f' AND "{tag}" = {quote_text(value)}' for tag, value in feed.items())
    while True:
        statement = (
            'SELECT "start_ms", "points", "digest", "sealed_ms", "window", "part"'
            f' FROM "{MEASUREMENT}" WHERE time > {after_ms * 1_000_000}{conditions}'
            f" ORDER BY time LIMIT {_PAGE_SEALS}"
        )
        rows = [row for _, row in sink.table(statement)]
        for row in rows:
            (replays if row.get("part") == "replay" else windows)[int(row["time"])] = _seal(row)
        if len(rows) < _PAGE_SEALS:
            return list(windows.values()), list(replays.values())
        # Once more what has the last one's time: the page may have ended within it.
        after_ms = int(rows[-1]["time"]) - 1


def sealed_queries(sink: Sink, pipeline: str) -> list[str]:
    """The queries that have seals. Raises :class:`~common.errors.SinkError`."""
    statement = (
        f'SHOW TAG VALUES FROM "{MEASUREMENT}" WITH KEY = "query"'
        f' WHERE "pipeline" = {quote_text(pipeline)}'
    )
    return sorted({str(row["value"]) for _, row in sink.table(statement)})


def _seal(row: Mapping[str, Any]) -> Seal:
    end_ms = int(row["time"])
    try:
        start_ms, sealed_ms = int(row["start_ms"]), int(row["sealed_ms"])
    except (TypeError, ValueError):
        return Seal(end_ms - 1, end_ms, None, 0)
    if start_ms >= end_ms:
        return Seal(end_ms - 1, end_ms, None, 0)
    try:
        digest = Digest.parse(int(row["points"]), str(row["digest"]))
    except (TypeError, ValueError):
        digest = None  # it still stands in the place of earlier ones
    return Seal(start_ms, end_ms, digest, sealed_ms, str(row.get("window") or ""))
