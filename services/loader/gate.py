"""Whether the sink may be asked at all: waits it named, holds it caused, and how they end.

A hold ends by a probe. While it lasts nothing is posted; after a wait that doubles up to a maximum,
one post at the head of the stream is let through. If the sink takes it the hold is over, else the
wait begins again, longer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from common.runtime.telemetry import Telemetry
from common.state.verdict import Pause, Retry


class Gate:
    """Shared by all threads that post. Durations in seconds."""

    def __init__(
        self,
        telemetry: Telemetry,
        *,
        base_seconds: float,
        max_seconds: float,
        wait_max_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._telemetry = telemetry
        self._base_seconds = base_seconds
        self._max_seconds = max_seconds
        self._wait_max_seconds = wait_max_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._wait_until = float("-inf")
        self._wait_words = ""
        self._cause = ""
        self._reason: str | None = None
        self._by_request = False
        self._held_since = 0.0
        self._probes = 0
        self._probe_at = 0.0
        telemetry.set("etl_sink_paused", 0)

    def blocked(self) -> Pause | None:
        """The verdict for what must not be posted now, or None.

        A wait is a hold for all but the entries that met it: taking more from the stream, only to
        give it back, would move the whole backlog through this process and out again.
        """
        with self._lock:
            now = self._clock()
            if self._reason is not None and now < self._probe_at:
                return Pause(self._reason)
            if now < self._wait_until:
                left = self._wait_until - now
                return Pause(f"the sink asked to wait {left:.1f} s: {self._wait_words}")
            return None

    @property
    def probing(self) -> bool:
        """Whether the next post decides if a hold is over, and must go alone."""
        with self._lock:
            return self._reason is not None

    @property
    def by_request(self) -> bool:
        """Whether the sink is held and a probe without points can tell that it is over."""
        with self._lock:
            return self._reason is not None and self._by_request

    @property
    def cause(self) -> str:
        """Why the sink is held, as a short word; empty if it is not."""
        return self._cause

    def wait(self, seconds: float, words: str) -> Retry:
        """The sink asked to be left alone for that long; nobody posts until then."""
        seconds = min(seconds, self._wait_max_seconds)
        with self._lock:
            self._wait_until = max(self._wait_until, self._clock() + seconds)
            self._wait_words = words
        self._telemetry.emit("sink_retry_after", after_seconds=seconds, words=words)
        return Retry(seconds, f"the sink asked to wait {seconds:.1f} s: {words}")

    def hold(self, cause: str, reason: str, *, by_request: bool) -> Pause:
        """The sink refuses us, or we refuse to go on; ``cause`` is a short stable word.

        ``by_request``: the refusal is of the request itself (token, bucket), so that a probe
        without points can tell that it is over; else only a post of points can.
        """
        with self._lock:
            now = self._clock()
            fresh = self._reason is None
            if fresh:
                self._held_since = now
            changed = self._cause != cause
            self._cause, self._reason, self._by_request = cause, reason, by_request
            if fresh or now >= self._probe_at:  # else another thread has just come to the same end
                self._probe_at = now + min(
                    self._max_seconds, self._base_seconds * 2 ** min(self._probes, 16)
                )
                self._probes += 1
            probe_after_seconds = self._probe_at - now
        if changed:
            self._telemetry.emit(
                "sink_paused", cause=cause, words=reason, probe_after_seconds=probe_after_seconds
            )
        self._telemetry.set("etl_sink_paused", 1)
        return Pause(reason)

    def passed(self, *, with_points: bool = True) -> None:
        """The sink took a post or a probe without points: a hold that this disproves is over."""
        with self._lock:
            if self._reason is None or not (with_points or self._by_request):
                return
            held_seconds = self._clock() - self._held_since
            self._reason, self._cause, self._probes = None, "", 0
        self._telemetry.emit("sink_resumed", held_seconds=held_seconds)
        self._telemetry.set("etl_sink_paused", 0)
