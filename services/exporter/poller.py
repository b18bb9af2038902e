"""A source's own thread: reads again and again, and shows that it still does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from services.exporter.series import PublishedPage

# How long one reading may show no progress before its thread counts as stuck.
GRACE_SECONDS = 60.0

KeepOn = Callable[[], bool]


class Source(Protocol):
    """Something that is read on a timer."""

    page: PublishedPage

    def step(self, keep_on: KeepOn) -> float:
        """Read and publish; in how many seconds to do it again."""
        ...

    def close(self) -> None:
        """Close what is read."""
        ...


class Poller(threading.Thread):
    """Calls ``step`` until ``stop`` is set; it returns in how many seconds to call it again.

    ``step`` is given a function to call now and then during long work: whether to keep on.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[KeepOn], float],
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._step = step
        self._stop_event = stop
        self._clock = clock
        self._due = clock() + GRACE_SECONDS

    def run(self) -> None:
        """Poll until stopped."""
        while self.keep_on():
            wait_seconds = self._step(self.keep_on)
            self._due = self._clock() + wait_seconds + GRACE_SECONDS
            self._stop_event.wait(wait_seconds)

    def keep_on(self) -> bool:
        """Note that there is progress; whether it should go on."""
        self._due = self._clock() + GRACE_SECONDS
        return not self._stop_event.is_set()

    def stuck(self) -> bool:
        """Whether the thread ended, or has shown no progress for too long."""
        return not self.is_alive() or self._clock() > self._due
