"""Late samples: what is counted again some time after it was committed, and opened if it changed.

Samples can arrive behind the window that they belong to (timestamps of their own, out-of-order
ingestion, remote write). The raw samples of each committed window of a ``select`` are therefore
counted once more by Prometheus; one that differs is extracted again. What was loaded the
first time is overwritten by the same points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from common.config import Query
from common.errors import QueryRejected, QueryTooLarge
from common.runtime.telemetry import Telemetry
from common.state.windows import Recheck, WindowSet
from services.extractor.history import SourceHistory
from services.extractor.windows import Plan

# Windows that are recounted in one turn; the rest waits for the next.
TURN_WINDOWS = 240


@dataclass
class Rechecker:
    """Counts committed windows again when they are due.

    ``count_in`` counts the raw samples of a ``select`` in ``(start_ms, end_ms]``. ``goes_on`` is
    called before every request to Prometheus; what was not counted stays due.
    """

    windows: WindowSet
    count_in: Callable[[Query, int, int], int]
    history: SourceHistory
    telemetry: Telemetry
    # Windows that one request may cover: fewer once that was too much, then more again.
    _most_windows: int = field(default=TURN_WINDOWS, init=False)
    # What could not be counted by itself comes last, so that it keeps nothing else waiting.
    _failed: set[tuple[str, str]] = field(default_factory=set, init=False)

    def run(self, plan: Plan, goes_on: Callable[[], bool] = lambda: True) -> int:
        """Recount what is due of a feed; how many windows were opened again.

        Raises :class:`common.errors.SourceError` when Prometheus does not respond; a window that it
        refuses to count is reported and left.
        """
        due = self.windows.due_rechecks(plan.feed, TURN_WINDOWS)
        feed = plan.feed.name
        still_due = {(feed, recheck.member) for recheck in due}
        self._failed = {one for one in self._failed if one[0] != feed or one in still_due}
        runs = sorted(
            _adjoining(due, self._most_windows),
            key=lambda run: (feed, run[0].member) in self._failed,
        )
        opened = 0
        for run in runs:
            try:
                opened += self._recount(plan, run, goes_on)
            except (QueryRejected, QueryTooLarge) as error:
                self._failed.add((feed, run[0].member))
                self.telemetry.emit("recheck_failed", **plan.feed.labels, error=str(error))
        return opened

    def _recount(self, plan: Plan, run: Sequence[Recheck], goes_on: Callable[[], bool]) -> int:
        """Recount adjoining windows by one query; only where it differs, each half by itself."""
        if not goes_on():
            return 0
        expected = sum(recheck.samples for recheck in run)
        try:
            found = self.count_in(plan.query, run[0].start_ms, run[-1].end_ms)
        except QueryTooLarge:
            if len(run) == 1:
                raise
            self._most_windows = len(run) // 2
            found = -1
        if found == expected:
            if len(run) == self._most_windows < TURN_WINDOWS:
                self._most_windows += 1
            self.windows.forget_rechecks(plan.feed, run)
            return 0
        if len(run) > 1:
            middle = len(run) // 2
            first, second = run[:middle], run[middle:]
            return self._recount(plan, first, goes_on) + self._recount(plan, second, goes_on)
        (changed,) = run
        if found < expected and self._expired(changed):
            # They are loaded; reading the window again would only declare it a gap.
            self.windows.forget_rechecks(plan.feed, run)
            return 0
        opened = self.windows.reopen(plan.feed, changed.start_ms, changed.end_ms, done=run)
        if opened is None:
            return 0
        self.telemetry.inc("etl_repeated_samples_total", changed.samples, **plan.feed.labels)
        self.telemetry.emit(
            "window_reopened",
            **plan.feed.labels,
            start_ms=changed.start_ms,
            end_ms=changed.end_ms,
            samples_before=expected,
            samples_now=found,
        )
        return 1

    def _expired(self, window: Recheck) -> bool:
        lowest_ms = self.history.lowest_ms(window.start_ms)
        return lowest_ms is not None and lowest_ms > window.start_ms + 1


def _adjoining(due: Sequence[Recheck], most: int) -> list[list[Recheck]]:
    """Runs of up to ``most`` windows each of which begins where the one before ends."""
    runs: list[list[Recheck]] = [[due[0]]] if due else []
    for before, after in pairwise(due):
        if after.start_ms == before.end_ms and len(runs[-1]) < most:
            runs[-1].append(after)
        else:
            runs.append([after])
    return runs
