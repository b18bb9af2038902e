"""Which URL of a sink is used, where a cluster has several.

One is used at a time. Whoever makes a request says whether the URL answered or failed; when it
failed, the next one is used. Some time later the first is tried again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence


class Addresses:
    """The URLs of one sink, of which one is in use; safe to use from any thread.

    ``changed`` is called with the URL that is used from then on.
    """

    def __init__(
        self,
        urls: Sequence[str],
        return_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[str], object] = lambda _url: None,
    ) -> None:
        self.urls = tuple(url.rstrip("/") for url in urls)
        self.changed = changed
        self._return_seconds = return_seconds
        self._clock = clock
        self._lock = threading.RLock()
        self._used = 0
        # Those that failed since one of them answered.
        self._failed: set[int] = set()
        self._return_at_seconds = 0.0

    @property
    def url(self) -> str:
        """The URL that is in use."""
        return self.urls[self._used]

    def try_first(self) -> str:
        """The URL to ask now: the first, once it is time to look whether it is back."""
        with self._lock:
            if self._used and self._clock() >= self._return_at_seconds:
                self._return_at_seconds = self._clock() + self._return_seconds
                return self.urls[0]
            return self.url

    def answered(self, url: str) -> None:
        """It did, so it is used, if it is the first or nothing else is."""
        with self._lock:
            self._failed.clear()
            if url == self.urls[0]:
                self._use(0)

    def failed(self, url: str) -> bool:
        """Use the next one, if ``url`` is in use; whether another is left that did not fail."""
        with self._lock:
            if url != self.url:
                return True
            self._failed.add(self._used)
            if self._used == 0:
                self._return_at_seconds = self._clock() + self._return_seconds
            following = (self._used + 1) % len(self.urls)
            left = len(self._failed) < len(self.urls)
            if not left:
                self._failed.clear()
            self._use(following)
            return left

    def _use(self, index: int) -> None:
        if index != self._used:
            self._used = index
            self.changed(self.url)
