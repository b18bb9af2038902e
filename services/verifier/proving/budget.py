"""How much of the processor comparing may take."""

from __future__ import annotations

import time
from collections.abc import Callable


class CpuBudget:
    """A bound on the share of one core that this process takes, on average since it began a turn.

    ``cpu`` gives the processor seconds that the process has taken, ``clock`` seconds that never run
    backwards; only differences are used. What was not taken before a turn is not saved for it.
    """

    def __init__(
        self,
        share: float,
        cpu: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share = share
        self._cpu = cpu
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """A turn begins."""
        self._cpu_began, self._began = self._cpu(), self._clock()

    def taken_seconds(self) -> float:
        """Processor time since the turn began."""
        return self._cpu() - self._cpu_began

    def owed_seconds(self) -> float:
        """How long to do nothing now, so that the turn keeps to its share."""
        elapsed_seconds = self._clock() - self._began
        return max(0.0, self.taken_seconds() / self._share - elapsed_seconds)
