"""How long each database keeps points, asked of the sink now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from math import inf

ASK_SECONDS = 60.0
# Points that are too old vanish while nothing is known, so an answer that failed is soon asked for.
ASK_AGAIN_SECONDS = 1.0


class RetentionCache:
    """``ask`` gives the seconds of every database, or None where the sink does not say.

    What it said last holds until it says something else. Safe to use from several threads.
    """

    def __init__(
        self,
        ask: Callable[[], Mapping[str, float] | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._known: Mapping[str, float] = {}
        self._ask_at = -inf
        self._lock = threading.Lock()

    def seconds(self, database: str) -> float:
        """How long a database keeps points; infinity for ever, or where nothing is known of it."""
        with self._lock:
            if self._clock() >= self._ask_at:
                known = self._ask()
                if known is not None:
                    self._known = known
                wait_seconds = ASK_AGAIN_SECONDS if known is None else ASK_SECONDS
                self._ask_at = self._clock() + wait_seconds
            return self._known.get(database, inf)
