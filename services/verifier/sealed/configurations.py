"""What was in force of each query and when, as the loader wrote it into the sink.

Points of ``etl_configuration`` with the tags ``pipeline``, ``query`` and ``tier``, at the time of a
change; fields ``before`` and ``after`` (see :mod:`common.config.in_force`; empty where it is not
known) and ``unsettled``: JSON, a list of start_ms and end_ms.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from common.config import InForce
from common.errors import WireError
from common.sink.select import Select
from common.state.feeds import Range, ranges_of
from services.verifier.sink.read import Sink

MEASUREMENT = "etl_configuration"


@dataclass(frozen=True, slots=True)
class Record:
    """A change at ``at_ms`` by Redis' clock; None: not known. ``unsettled`` was extracted before,
    and may have been transformed after.
    """

    at_ms: int
    before: InForce | None
    after: InForce | None
    unsettled: Sequence[Range] = ()


def read_records(sink: Sink, pipeline: str, tier: str) -> tuple[dict[str, list[Record]], list[str]]:
    """By query, the changes in order; and what cannot be read of them, each the end of a line.

    Raises :class:`~common.errors.SinkError`.
    """
    columns = ("before", "after", "unsettled", "query")
    changes = Select(columns, MEASUREMENT, {"pipeline": pipeline, "tier": tier})
    records: dict[str, list[Record]] = {}
    notes: set[str] = set()
    for row in sink.rows(changes):
        query = str(row["query"])
        before, after = (_in_force(query, row[of], notes) for of in ("before", "after"))
        try:
            unsettled = ranges_of(json.loads(row["unsettled"] or "[]"))
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            unsettled = []
        record = Record(int(row["time"]), before, after, unsettled)
        records.setdefault(query, []).append(record)
    return records, sorted(notes)


def _in_force(query: str, text: object, notes: set[str]) -> InForce | None:
    if not text:
        return None
    try:
        return InForce.parse(query, str(text))
    except WireError as error:
        notes.add(f"{error}; windows of its time are judged by another")
        return None
