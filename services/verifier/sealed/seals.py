"""The seals of a feed in the sink: what was loaded of each window ``(start_ms, end_ms]``.

A point of ``etl_seal`` at the window's end, with the tags ``pipeline``, ``query``, ``tier`` and the
fields ``start_ms``, ``points``, ``digest`` (see :mod:`common.samples.seal`; ``unknown`` where none
is known), ``sealed_ms`` and ``window``. One with the tag ``part=replay`` says what was loaded later
of the same window.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from common.errors import SinkError
from common.samples.seal import Digest
from common.sink.select import Select
from services.verifier.sink.read import Sink

MEASUREMENT = "etl_seal"
COLUMNS = ("start_ms", "points", "digest", "sealed_ms", "window", "part")
_PAGE_SEALS = 20_000
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Seal:
    """``digest`` is that of what was loaded; None where it is not known, or cannot be read.

    ``window`` is the id of the extraction. ``replayed_ms``: when the last of what was replayed of
    it, and is in the digest, was loaded.
    """

    start_ms: int
    end_ms: int
    digest: Digest | None
    sealed_ms: int
    window: str = ""
    replayed_ms: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Seals in order of their ends: all of ``windows``, and of what was ``replayed`` of them, that
    end by ``read_to_ms`` and were in no page before. After the ``last`` none is to come.
    """

    windows: list[Seal]
    replays: list[Seal]
    read_to_ms: int
    last: bool


@dataclass(frozen=True, slots=True)
class Span:
    """No seal ends before ``first_ms`` or after ``last_ms``, or is longer than ``longest_ms``."""

    first_ms: int
    last_ms: int
    longest_ms: int


@dataclass(frozen=True, slots=True)
class SealReader:
    """Reads the seals of one feed. Every method raises :class:`~common.errors.SinkError`."""

    sink: Sink
    pipeline: str
    query: str
    tier: str

    def span(self) -> Span | None:
        """Where the seals lie; None where there are none."""
        ends = [
            int(row["time"])
            for newest_first in (False, True)
            for row in self._rows("start_ms", "digest", newest_first=newest_first, limit=1)
        ]
        if not ends:
            return None
        first_ms, last_ms = ends[0], ends[-1]
        bounds = {"after_ms": first_ms - 1, "until_ms": last_ms}
        longest_ms = _DAY_MS
        for row in self._rows("start_ms", lowest_by_day=True, **bounds):
            with suppress(TypeError, ValueError):  # what is no number makes no window
                longest_ms = max(longest_ms, int(row["time"]) + _DAY_MS - int(row["start_ms"]))
        return Span(first_ms, last_ms, longest_ms)

    def pages(self, after_ms: int, to_ms: int) -> Iterator[Page]:
        """The seals that end in ``(after_ms, to_ms]``, so many at a time; at least one page."""
        last = False
        while not last:
            bounds = {"after_ms": after_ms, "until_ms": to_ms, "limit": _PAGE_SEALS}
            rows = list(self._rows(*COLUMNS, **bounds))
            last, after_ms = len(rows) < _PAGE_SEALS, to_ms
            if not last:
                # There may be more with the time of the last one: they are read again.
                after_ms = int(rows[-1]["time"])
                if int(rows[0]["time"]) < after_ms:
                    after_ms -= 1
            windows: dict[int, Seal] = {}
            replays: dict[int, Seal] = {}
            for row in rows:
                if (end_ms := int(row["time"])) <= after_ms:
                    (replays if row.get("part") == "replay" else windows)[end_ms] = _seal(row)
            yield Page(list(windows.values()), list(replays.values()), after_ms, last)

    def _rows(self, *columns: str, **more: Any) -> Iterator[dict[str, Any]]:
        feed = {"pipeline": self.pipeline, "query": self.query, "tier": self.tier}
        for row in self.sink.rows(Select(columns, MEASUREMENT, feed, **more)):
            try:
                int(row["time"])
            except (TypeError, ValueError, LookupError):
                raise SinkError(f"{MEASUREMENT} has a row without a time") from None
            yield row


def sealed_queries(sink: Sink, pipeline: str) -> list[str]:
    """The queries that have seals. Raises :class:`~common.errors.SinkError`."""
    return sink.tag_values(MEASUREMENT, "query", {"pipeline": pipeline})


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
