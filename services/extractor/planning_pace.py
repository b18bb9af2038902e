"""How often planning is needed: while nothing is left to do, not before a head moves.

A turn of planning asks Prometheus twice or three times and Redis a dozen times. Ticks come several
times in each interval, so that what failed or was interrupted goes on soon; where nothing was, the
same turn would only find again that all is extracted. Between two ticks it is when a head moves.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.extractor.planner import Due
from services.extractor.windows import Plan

# Of a recount's delay: how late it may be. Windows that come due meanwhile are counted together.
RECHECK_LATE_SHARE = 0.1
RECHECK_LATE_AT_MOST_SECONDS = 60.0


@dataclass
class PlanningPace:
    """Whether this process wants planning at a tick; safe to use from several threads.

    What is only in Redis (a backfill that was requested) is noticed once in ``interval_seconds``.
    ``recheck_after_seconds``: when windows are counted again.
    """

    plans: Sequence[Plan]
    interval_seconds: float
    recheck_after_seconds: Sequence[float] = ()
    clock: Callable[[], float] = time.monotonic
    _idle_until: float = field(default=float("-inf"), init=False)
    _live_is_due: bool = field(default=True, init=False)
    _recheck_at: float = field(default=float("-inf"), init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def wanted(self) -> bool:
        """Whether there is something to plan, or may be."""
        with self._lock:
            return self._live_is_due or self.clock() >= self._idle_until

    def next_seconds(self) -> float:
        """How long it is until a head moves, infinity where that is not known: ticks do then."""
        with self._lock:
            left_seconds = self._idle_until - self.clock()
            return left_seconds if left_seconds > 0 else math.inf

    def planned(self, due: Due, now_ms: int) -> None:
        """All feeds were planned at the source's time ``now_ms``, and this is to be done."""
        with self._lock:
            self._live_is_due = due.live > 0
            self._idle_until = float("-inf")
            if not (due.catchup or due.backfill or due.waiting):
                moves_ms = min(
                    (plan.next_head_at_ms(now_ms) for plan in self.plans), default=now_ms
                )
                idle_seconds = min((moves_ms - now_ms) / 1000, self.interval_seconds)
                self._idle_until = self.clock() + idle_seconds

    def live_is_extracted(self) -> None:
        """No live window is left."""
        with self._lock:
            self._live_is_due = False

    def failed(self) -> None:
        """Something is to be done that no turn of planning has counted."""
        with self._lock:
            self._live_is_due = True

    def recheck_is_due(self) -> bool:
        """Whether it is time to look for windows to count again; the caller does."""
        late_seconds = RECHECK_LATE_SHARE * min(self.recheck_after_seconds, default=0.0)
        with self._lock:
            if self.clock() < self._recheck_at:
                return False
            late_seconds = min(late_seconds, RECHECK_LATE_AT_MOST_SECONDS)
            self._recheck_at = self.clock() + late_seconds
            return True
