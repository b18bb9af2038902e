"""How much a search for refused lines may cost the sink.

A search that is at its bound is no search that failed: its entry is released with what was found
out, others have their turn, and it goes on with the next delivery.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from common.config.load import LoadSettings
from common.state.verdict import Retry

# A search that waits gets so much of a minute's posts before it may have to wait again.
_TURN_SECONDS = 6.0

# A search that only probes a paused sink costs so much more.
_PROBE_COST = 10


class SearchBudget:
    """Posts of searches, of all threads: so many a minute (a tenth while it probes), so many for
    each delivery of an entry.

    The minute's are a bucket that is full at first and fills evenly.
    """

    def __init__(self, settings: LoadSettings, clock: Callable[[], float]) -> None:
        self._per_entry = settings.search_posts_per_entry
        self._per_minute = settings.search_posts_per_minute
        self._pause_seconds = settings.backoff_base_seconds
        self._clock = clock
        self._left = float(self._per_minute)
        self._at = clock()
        self._lock = threading.Lock()

    def take(self, posts: int, entries: int, *, probing: bool = False) -> Retry | None:
        """None if a search of so many entries that made so many posts may make another.

        The first is free: it may find that nothing is refused any more.
        """
        if posts == 0:
            return None
        if posts >= self._per_entry * entries:
            return Retry(self._pause_seconds, "the search for refused lines goes on later")
        with self._lock:
            now = self._clock()
            filled = self._left + (now - self._at) * self._per_minute / 60
            self._left, self._at = min(filled, float(self._per_minute)), now
            cost = _PROBE_COST if probing else 1
            if self._left < cost:
                reason = f"searches for refused lines make {self._per_minute} posts a minute"
                return Retry(_TURN_SECONDS, reason)
            self._left -= cost
            return None
