"""Late samples: what is counted again some time after it was committed, and opened if it changed.

Samples can arrive behind the window that they belong to (timestamps of their own, out-of-order
ingestion, remote write). Prometheus is therefore asked once more for the number of raw samples of
each committed window of a ``select``; one that differs is extracted again. What was loaded the
first time is overwritten by the same points.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from common.errors import QueryTooLarge
from common.settings import Query
from common.telemetry import Telemetry
from common.windows import Recheck, WindowSet
from services.extractor.windows import Plan

# Windows that are recounted in one turn; the rest waits for the next.
TURN_WINDOWS = 240


class Counter(Protocol):
    """What rechecking needs of Prometheus."""

    def count_in(self, query: Query, start_ms: int, end_ms: int) -> int:
        """Raw samples of a ``select`` in ``(start_ms, end_ms]``."""
        ...


class Rechecker:
    """Counts committed windows again when they are due."""

    def __init__(self, windows: WindowSet, source: Counter, telemetry: Telemetry) -> None:
        self._windows = windows
        self._source = source
        self._telemetry = telemetry

    def run(self, plan: Plan) -> int:
        """Recount what is due of a lane; how many windows were opened again.

        Raises :class:`common.errors.SourceError`; what was not counted stays due.
        """
        due = self._windows.due_rechecks(plan.lane, TURN_WINDOWS)
        return sum(self._recount(plan, run) for run in _adjoining(due))

    def _recount(self, plan: Plan, run: Sequence[Recheck]) -> int:
        """Recount adjoining windows by one query; only where it differs, each half by itself."""
        expected = sum(recheck.samples for recheck in run)
        try:
            found = self._source.count_in(plan.query, run[0].start_ms, run[-1].end_ms)
        except QueryTooLarge:
            if len(run) == 1:
                raise
            found = -1
        if found == expected:
            self._windows.forget_rechecks(plan.lane, run)
            return 0
        if len(run) > 1:
            middle = len(run) // 2
            return self._recount(plan, run[:middle]) + self._recount(plan, run[middle:])
        (changed,) = run
        labels = {"query": plan.lane.query, "tier": plan.lane.tier}
        opened = self._windows.reopen(plan.lane, changed.start_ms, changed.end_ms, done=run)
        if opened is None:
            return 0
        self._telemetry.inc("etl_repeated_samples_total", changed.samples, **labels)
        self._telemetry.emit(
            "window_reopened",
            query=plan.lane.query,
            tier=plan.lane.tier,
            start_ms=changed.start_ms,
            end_ms=changed.end_ms,
            samples_before=expected,
            samples_now=found,
        )
        return 1


def _adjoining(due: Sequence[Recheck]) -> list[list[Recheck]]:
    """Runs of windows each of which begins where the one before ends."""
    runs: list[list[Recheck]] = [[due[0]]] if due else []
    for before, after in pairwise(due):
        if after.start_ms == before.end_ms:
            runs[-1].append(after)
        else:
            runs.append([after])
    return runs
