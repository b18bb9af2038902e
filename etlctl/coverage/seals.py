"""What time the seals in the sink speak of.

A seal is a point of ``etl_seal`` at the end of its window (:mod:`services.verifier.sealed.seals`).
Only its bounds and whether it has a digest matter here, so that years of them are walked over in
pages, of which only ranges are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from common.samples.seal import Digest
from common.sink.select import Select
from common.state.feeds import Range
from common.state.ranges import merged, overlaps
from services.verifier.sealed.holding import holding
from services.verifier.sealed.seals import COLUMNS, MEASUREMENT, Seal
from services.verifier.sink.read import Sink

PAGE_SEALS = 20_000

_Row = tuple[Seal, bool]  # whether it is of what was replayed of the window


class FeedSeals:
    """The seals of one feed. Every method raises :class:`~common.errors.SinkError`."""

    def __init__(
        self, sink: Sink, pipeline: str, query: str, tier: str, page_seals: int = PAGE_SEALS
    ) -> None:
        self._sink = sink
        self._page_seals = page_seals
        self._feed = {"pipeline": pipeline, "query": query, "tier": tier}

    def first_ms(self) -> int | None:
        """The start of the oldest window; None where there is no seal."""
        for seal, _ in self._rows(0, 1):
            return seal.start_ms
        return None

    def ranges(
        self, start_ms: int, end_ms: int, progress: Callable[[int], None] = lambda up_to_ms: None
    ) -> list[Range]:
        """What seals with a digest speak of, of windows with a part in ``(start_ms, end_ms]``.

        The newest seal of any time holds; of a window that was loaded again in part nothing is
        known any more but what was loaded last.
        """
        found: list[Range] = []
        for rows in self._runs(start_ms, end_ms):
            held = holding(
                [seal for seal, replayed in rows if not replayed],
                [seal for seal, replayed in rows if replayed],
            )
            found += merged(
                (seal.start_ms, seal.end_ms) for seal in held.windows if seal.digest is not None
            )
            found = merged(found)
            progress(found[-1][1] if found else start_ms)
        return found

    def _runs(self, start_ms: int, end_ms: int) -> Iterator[Sequence[_Row]]:
        """The seals, in order of their ends, cut where no window lies on both sides.

        A window that is longer than a page of others after it would be cut off from them.
        """
        after_ms, waiting = start_ms, list[_Row]()
        while True:
            page = self._rows(after_ms, self._page_seals)
            last = len(page) < self._page_seals
            # What has the last one's time is read once more: the page may have ended within it.
            edge_ms = page[-1][0].end_ms if page else after_ms
            whole = page if last else [row for row in page if row[0].end_ms < edge_ms]
            first_ms = min((seal.start_ms for seal, _ in whole), default=edge_ms)
            done = _before(waiting, first_ms)
            yield waiting[:done]
            waiting = waiting[done:] + whole
            if last or not overlaps([(start_ms, end_ms)], first_ms, edge_ms):
                yield waiting
                return
            after_ms = edge_ms - 1

    def _rows(self, after_ms: int, limit: int) -> list[_Row]:
        seals = Select(COLUMNS, MEASUREMENT, self._feed, after_ms=after_ms, limit=limit)
        return [(_seal(row), row.get("part") == "replay") for row in self._sink.rows(seals)]


def _before(rows: Sequence[_Row], first_ms: int) -> int:
    """How many of ``rows`` end before everything that begins at ``first_ms`` or overlaps it."""
    for index in range(len(rows), 0, -1):
        seal = rows[index - 1][0]
        if seal.end_ms <= first_ms:
            return index
        first_ms = min(first_ms, seal.start_ms)
    return 0


def _seal(row: Mapping[str, Any]) -> Seal:
    """The seal; one without bounds that can be read speaks of its last millisecond."""
    end_ms = int(row["time"])
    try:
        start_ms, sealed_ms = int(row["start_ms"]), int(row["sealed_ms"])
    except (TypeError, ValueError):
        start_ms, sealed_ms = end_ms, 0
    if start_ms >= end_ms:
        return Seal(end_ms - 1, end_ms, None, 0)
    try:
        digest = Digest.parse(int(row["points"]), str(row["digest"]))
    except (TypeError, ValueError):
        digest = None  # it still stands in the place of earlier ones
    return Seal(start_ms, end_ms, digest, sealed_ms, str(row.get("window") or ""))
