"""Renewing a lease while the work under it lasts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from redis.exceptions import RedisError

# A lease outlives two renewals that fail in a row.
RENEWALS_PER_LEASE = 3


class LeaseRenewal:
    """Renews a lease from a thread of its own; a context manager around the work.

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
        self._thread = threading.Thread(target=self._run, name="lease-renewal", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether the lease is somebody else's now, as far as a renewal has found out."""
        return self._lost.is_set()

    def __enter__(self) -> LeaseRenewal:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        until = self._clock() + self._max_seconds
        while not self._done.wait(self._every_seconds) and self._clock() <= until:
            try:
                if not self._renew():
                    self._lost.set()
                    return
            except RedisError:
                continue
