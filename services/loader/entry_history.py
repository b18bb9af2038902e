"""What is remembered of entries between their deliveries: their failures, and lines found out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

from common.state.verdict import Entry
from services.loader.lines import Lines

# Failures of an entry, while others pass, after which the trouble is looked for inside it, and
# after which it is a dead letter as a whole if nothing of it is ever taken.
SUSPECT_FAILURES = 3
HOPELESS_FAILURES = 10

_MOST_ENTRIES = 10_000  # whose failures are remembered; the oldest give way and start anew

# How many entries' lines are remembered, and for how long.
KEPT_ENTRIES = 64
KEPT_SECONDS = 600.0


class Suspects:
    """Entries whose posts fail at the server again and again, while others pass; by entry id.

    A server that answers 500 to everything is down; one that answers 500 to this entry only has
    trouble with something in it.
    """

    def __init__(self) -> None:
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
            while len(self._seen) > _MOST_ENTRIES:
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
        return self.failures(id_) >= SUSPECT_FAILURES

    def is_hopeless(self, id_: str) -> bool:
        """Whether the entry is to blame as a whole, should nothing of it be taken."""
        return self.failures(id_) >= HOPELESS_FAILURES


class Judged:
    """Entries that were settled with dead letters: those that come again are counted no more."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def add(self, id_: str) -> None:
        """The entry is settled; whether that can be carried out shows later."""
        self._ids[id_] = None
        while len(self._ids) > _MOST_ENTRIES:
            self._ids.popitem(last=False)

    def among(self, ids: Iterable[str]) -> list[str]:
        """Which of these were settled before."""
        return [id_ for id_ in ids if id_ in self._ids]


class IsolationCache:
    """What interrupted searches found out about lines, for a while.

    Without it a long search against a shaky sink would begin anew with each delivery and might
    never end.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._saved: OrderedDict[tuple[str, str], tuple[float, Lines]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, entry: Entry) -> Lines | None:
        """What is known of the entry, or None."""
        with self._lock:
            saved = self._saved.get(_key(entry))
            if saved is None or self._clock() - saved[0] > KEPT_SECONDS:
                return None
            return saved[1]

    def put(self, entry: Entry, lines: Lines) -> None:
        """Keep what was found; the oldest gives way."""
        with self._lock:
            self._saved.pop(_key(entry), None)
            self._saved[_key(entry)] = (self._clock(), lines)
            while len(self._saved) > KEPT_ENTRIES:
                self._saved.popitem(last=False)

    def forget(self, entry: Entry) -> None:
        """The entry is settled, or is to be judged anew."""
        with self._lock:
            self._saved.pop(_key(entry), None)


def _key(entry: Entry) -> tuple[str, str]:
    """A name for good: a Redis that fell back gives ids again, but no payload keys."""
    return entry.id, entry.payload_key
