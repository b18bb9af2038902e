"""Entries whose posts fail at the server again and again, while others pass.

A server that answers 500 to everything is down; one that answers 500 to this entry only has
trouble with something in it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

_REMEMBERED = 10_000  # entries; beyond that the oldest are forgotten and start anew


class Suspects:
    """Failures of entries in this worker's hands, by entry id."""

    def __init__(self, *, failures: int) -> None:
        self._failures = failures
        self._passes = 0
        self._seen: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def passed(self) -> None:
        """A post was taken by the sink."""
        with self._lock:
            self._passes += 1

    def failed(self, ids: Iterable[str]) -> None:
        """A post with these entries failed at the server.

        It counts once, and again only if a post was taken since: in an outage nobody is suspect.
        """
        with self._lock:
            for id_ in ids:
                count, passes = self._seen.pop(id_, (0, -1))
                self._seen[id_] = (count + (self._passes > passes), self._passes)
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)

    def forget(self, id_: str) -> None:
        """The entry is settled."""
        with self._lock:
            self._seen.pop(id_, None)

    def failures(self, id_: str) -> int:
        """How often it failed while others passed; from 1 on it is to be posted alone."""
        with self._lock:
            return self._seen.get(id_, (0, 0))[0]

    def is_suspect(self, id_: str) -> bool:
        """Whether the trouble is to be looked for in the entry."""
        return self.failures(id_) >= self._failures
