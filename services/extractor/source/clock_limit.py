"""How far the source's clock is believed: not beyond our own plus a tolerance.

A source whose clock jumped ahead would have time extracted, and committed, whose samples are not
there yet. One whose clock is right loses nothing where ours is wrong: it is only extracted later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from common.runtime.telemetry import Telemetry


@dataclass
class ClockLimit:
    """Limits the source's time, and says so."""

    tolerance_seconds: float
    telemetry: Telemetry
    wall_clock: Callable[[], float] = time.time
    _limits: bool = field(default=False, init=False)

    def limited_ms(self, source_ms: int) -> int:
        """``source_ms``, or the latest time that is believed."""
        latest_ms = round((self.wall_clock() + self.tolerance_seconds) * 1000)
        ahead_seconds = max(0, source_ms - latest_ms) / 1000
        self.telemetry.set("etl_planning_held_back_seconds", ahead_seconds)
        if ahead_seconds and not self._limits:
            self.telemetry.emit(
                "source_clock_ahead",
                source_ms=source_ms,
                ahead_seconds=ahead_seconds + self.tolerance_seconds,
            )
        self._limits = ahead_seconds > 0
        return min(source_ms, latest_ms)
