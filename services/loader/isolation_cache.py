"""What interrupted searches found out about an entry's lines, kept for its next delivery.

Without it a long search against a shaky sink would begin anew each time and might never end.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from common.state.verdict import Entry
from services.loader.isolate import Lines


def known_as(entry: Entry) -> str:
    """An entry's name for good: a Redis that fell back gives ids again, but no payload keys."""
    return f"{entry.id} {entry.payload_key}"


class IsolationCache:
    """By :func:`known_as`; at most ``entries`` of them, each believed for ``seconds``."""

    def __init__(
        self,
        *,
        entries: int = 64,
        seconds: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._entries = entries
        self._seconds = seconds
        self._clock = clock
        self._saved: OrderedDict[str, tuple[float, Lines]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Lines | None:
        """What is known of the entry, or None."""
        with self._lock:
            saved = self._saved.get(name)
            if saved is None or self._clock() - saved[0] > self._seconds:
                return None
            return saved[1]

    def put(self, name: str, lines: Lines) -> None:
        """Keep what was found; the oldest gives way."""
        with self._lock:
            self._saved.pop(name, None)
            self._saved[name] = (self._clock(), lines)
            while len(self._saved) > self._entries:
                self._saved.popitem(last=False)

    def forget(self, name: str) -> None:
        """The entry is settled, or is to be judged anew."""
        with self._lock:
            self._saved.pop(name, None)
