"""Waiting for a backfill: how far it is, how fast it goes, and what holds it up."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from common.durations import format_duration
from common.state.backfills import Backfill, Backfills
from common.state.windows import WindowSet
from common.state.workers import Workers
from etlctl.failures import message_of
from etlctl.history.again import Opened, wait_until_loaded
from etlctl.history.state import state_of
from etlctl.output import thousands
from etlctl.times import Clock

# What the rate that is shown is an average of.
RATE_SECONDS = 15.0


@dataclass
class Watch:
    """A backfill that is waited for.

    ``show`` gets how much is left, in ms, how fast it goes, and what :func:`state_of` says.
    """

    windows: WindowSet
    id: str
    opened: Sequence[Opened]
    show: Callable[[int, str, str], None]
    clock: Clock = field(default_factory=Clock)
    # Seconds, samples and ms that were left, of the last ``RATE_SECONDS``.
    _seen: deque[tuple[float, int, int]] = field(default_factory=deque, init=False)
    _left_ms: int = field(default=0, init=False)

    def wait(self) -> Backfill | None:
        """Until all of it is loaded, left out or cancelled; what it was then, if it is known.

        A Redis that is away is waited for.
        """
        wait_until_loaded(
            self.windows, self.opened, math.inf, self._progress, self.clock, self._trouble
        )
        return self._backfill()

    def _backfill(self) -> Backfill | None:
        found = Backfills(self.windows.redis, self.windows.keys).all()
        return next((one for one in found if one.id == self.id), None)

    def _progress(self, left_ms: int) -> None:
        found, self._left_ms = self._backfill(), left_ms
        if found is None:
            return
        workers = Workers(self.windows.redis, self.windows.keys).alive()
        now = self.clock.monotonic()
        self._seen.append((now, found.samples, left_ms))
        while now - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()
        first_at, first_samples, first_left_ms = self._seen[0]
        texts = [f"{thousands(found.samples)} samples"]
        if now > first_at and found.samples > first_samples:
            texts.append(
                f"{thousands(round((found.samples - first_samples) / (now - first_at)))}/s"
            )
        if first_left_ms > left_ms:
            seconds = left_ms * (now - first_at) / (first_left_ms - left_ms)
            texts.append(f"{format_duration(math.ceil(seconds) * 1000)} left")
        # What is extracted is not loaded yet.
        state = "loading" if found.state == "done" and left_ms else state_of(found, workers)
        self.show(left_ms, ", ".join(texts), state)

    def _trouble(self, error: RedisError) -> None:
        self.show(self._left_ms, "", f"waits: {message_of(error)}")
