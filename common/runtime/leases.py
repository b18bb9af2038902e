"""Renewing a lease while the work under it lasts."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType

from redis.exceptions import RedisError

from common.runtime.timer import Timer

# A lease outlives two renewals that fail in a row.
RENEWALS_PER_LEASE = 3


_TIMER = Timer("lease-timer")


class LeaseRenewal:
    """Renews a lease from a thread of its own; a context manager around the work.

    The thread is started when the lease is to be renewed for the first time: most work is done by
    then.

    ``renew`` is called three times in each ``lease_seconds``. It renews what is still ours and
    returns whether any of that is left; after the first False nothing is renewed and ``lost`` is
    True. A :class:`RedisError` from it decides nothing: it is called again at the next turn, and if
    Redis stays away, Redis itself refuses the commit or the settlement.

    After ``max_seconds`` nothing is renewed either, so that work that hangs loses its lease to
    another worker instead of keeping it for ever.
    """

    def __init__(
        self,
        renew: Callable[[], bool],
        lease_seconds: float,
        *,
        max_seconds: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._renew = renew
        self._every_seconds = lease_seconds / RENEWALS_PER_LEASE
        self._max_seconds = max_seconds
        self._clock = clock
        self._done = threading.Event()
        self._lost = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def lost(self) -> bool:
        """Whether the lease is somebody else's now, as far as a renewal has found out."""
        return self._lost.is_set()

    def __enter__(self) -> LeaseRenewal:
        self._until = self._clock() + self._max_seconds
        self._start_later()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._first.cancel()
        with self._starting:
            self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _start_later(self) -> None:
        self._first = _TIMER.at(time.monotonic() + self._every_seconds, self._start)

    def _start(self) -> None:
        with self._starting:
            if self._done.is_set():
                return
            thread = threading.Thread(target=self._run, name="lease-renewal", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads at the moment; the lease outlives two failures
                self._start_later()
                raise
            self._thread = thread

    def _run(self) -> None:
        while self._clock() <= self._until:
            with contextlib.suppress(RedisError):
                if not self._renew():
                    self._lost.set()
                    return
            if self._done.wait(self._every_seconds):
                return
