"""Back-pressure: extraction, and nothing else, pauses while too many bytes are in flight."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from common.config import PipelineSettings
from common.runtime.telemetry import Telemetry
from common.state.windows import WindowSet

CHECK_EVERY_SECONDS = 0.1
# What the check may take of Redis' time: with thousands of entries in flight, or where Redis is
# busy, it costs more and is made less often.
CHECK_SHARE = 0.1


@dataclass
class BackPressure:
    """Whether extraction pauses, checked ten times a second at most; safe for several threads."""

    windows: WindowSet
    pipeline: PipelineSettings
    telemetry: Telemetry
    set_ready: Callable[[str, bool, str], None]
    clock: Callable[[], float] = time.monotonic
    _paused: bool = field(default=False, init=False)
    _check_again_at: float = field(default=float("-inf"), init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def paused(self) -> bool:
        """Whether extraction pauses now.

        Raises :class:`redis.exceptions.RedisError` when Redis cannot be reached.
        """
        with self._lock:
            return self._checked()

    def _checked(self) -> bool:
        began = self.clock()
        if began < self._check_again_at:
            return self._paused
        paused, in_flight_bytes = self.windows.pressure(
            self.pipeline.high_water_bytes, self.pipeline.low_water_bytes
        )
        took_seconds = self.clock() - began
        self._check_again_at = began + max(CHECK_EVERY_SECONDS, took_seconds / CHECK_SHARE)
        if paused != self._paused:
            self.telemetry.emit(
                "back_pressure_on" if paused else "back_pressure_off",
                in_flight_bytes=in_flight_bytes,
            )
            detail = f"extraction pauses: {in_flight_bytes} bytes in flight" if paused else ""
            # A full pipeline is healthy: the pause is a detail, not a reason to be unready.
            self.set_ready("back_pressure", True, detail)
        self._paused = paused
        return paused
