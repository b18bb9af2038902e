"""A limit of the bytes that are posted in a second, for sinks that are paid by them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# So that whoever waits is seen to be alive, and soon hears that it is to stop.
_PIECE_SECONDS = 1.0


class Pace:
    """A token bucket that holds a second's bytes; safe to use from several threads.

    A body larger than that is let through as well, and the next ones wait the longer. ``wait``
    waits for so many seconds.
    """

    def __init__(
        self,
        bytes_per_second: float | None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._bytes = bytes_per_second or 0.0
        self._at_seconds = clock()

    def take(self, size_bytes: int) -> float:
        """Take so many bytes; how long to wait until they may be sent."""
        if self._bytes_per_second is None:
            return 0.0
        with self._lock:
            now = self._clock()
            gained = (now - self._at_seconds) * self._bytes_per_second
            self._bytes = min(self._bytes_per_second, self._bytes + gained)
            self._at_seconds = now
            wait_seconds = max(0.0, -self._bytes / self._bytes_per_second)
            self._bytes -= size_bytes
            return wait_seconds

    def give_back(self, size_bytes: int) -> None:
        """Bytes that were taken are not sent."""
        with self._lock:
            self._bytes += size_bytes

    def wait(self, seconds: float, stopping: Callable[[], bool], tick: Callable[[], None]) -> None:
        """Wait so long, or until ``stopping``; ``tick`` is called now and then."""
        until_seconds = self._clock() + seconds
        while (left_seconds := until_seconds - self._clock()) > 0 and not stopping():
            self._wait(min(left_seconds, _PIECE_SECONDS))
            tick()
