"""Back-pressure: extraction, and nothing else, pauses while too many bytes are in flight."""

from __future__ import annotations

import time
from collections.abc import Callable

from common.config import PipelineSettings
from common.runtime.telemetry import Telemetry
from common.state.windows import WindowSet

CHECK_EVERY_SECONDS = 0.1
# What the check may take of Redis' time: it sums up all that is in flight, so with very many small
# entries it costs more and is made less often.
CHECK_SHARE = 0.1


class BackPressure:
    """Whether extraction pauses, checked ten times a second at most."""

    def __init__(
        self,
        windows: WindowSet,
        pipeline: PipelineSettings,
        telemetry: Telemetry,
        set_ready: Callable[[str, bool, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._windows = windows
        self._pipeline = pipeline
        self._telemetry = telemetry
        self._set_ready = set_ready
        self._clock = clock
        self._paused = False
        self._check_again_at = float("-inf")

    def paused(self) -> bool:
        """Whether extraction pauses now.

        Raises :class:`redis.exceptions.RedisError` when Redis cannot be reached.
        """
        began = self._clock()
        if began < self._check_again_at:
            return self._paused
        paused, in_flight_bytes = self._windows.pressure(
            self._pipeline.high_water_bytes, self._pipeline.low_water_bytes
        )
        took_seconds = self._clock() - began
        self._check_again_at = began + max(CHECK_EVERY_SECONDS, took_seconds / CHECK_SHARE)
        if paused != self._paused:
            self._telemetry.emit(
                "back_pressure_on" if paused else "back_pressure_off",
                in_flight_bytes=in_flight_bytes,
            )
            detail = f"extraction pauses: {in_flight_bytes} bytes in flight" if paused else ""
            # A full pipeline is healthy: the pause is a detail, not a reason to be unready.
            self._set_ready("back_pressure", True, detail)
        self._paused = paused
        return paused
