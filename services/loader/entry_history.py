"""What is remembered of entries between their deliveries: their failures, and lines found out."""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from common.state.verdict import Entry
from services.loader import payload
from services.loader.lines import Lines

# Failures of an entry, while others pass, after which the trouble is looked for inside it, and
# after which it is a dead letter as a whole if nothing of it is ever taken.
SUSPECT_FAILURES = 3
HOPELESS_FAILURES = 10

_MOST_ENTRIES = 10_000  # whose failures are remembered; the oldest give way and start anew

# Of how many entries it is remembered what was found, in how much memory, and for how long.
KEPT_ENTRIES = 64
KEPT_BYTES = 32 << 20
KEPT_SECONDS = 600.0
_MESSAGE_BYTES = 150  # of one, beside its text


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
    never end. The lines themselves come with each delivery: those of a few entries would fill the
    loader's memory.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._saved: OrderedDict[tuple[str, str], _Found] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, entry: Entry) -> Lines | None:
        """What is known of the entry, or None.

        Raises :class:`common.errors.WireError` if the payload cannot be inflated.
        """
        with self._lock:
            found = self._saved.get(_key(entry))
        if found is None or self._clock() - found.at_seconds > KEPT_SECONDS:
            return None
        text = payload.decode(entry.payload, entry.samples)
        parts = [part.tolist() for part in found.parts]
        return Lines(text, bytearray(found.status), dict(found.messages), parts)

    def put(self, entry: Entry, lines: Lines) -> None:
        """Keep what was found; the oldest gives way."""
        parts = [array("I", part) for part in lines.parts]
        found = _Found(self._clock(), bytes(lines.status), dict(lines.messages), parts)
        with self._lock:
            self._saved.pop(_key(entry), None)
            self._saved[_key(entry)] = found
            while len(self._saved) > KEPT_ENTRIES or (len(self._saved) > 1 and self._is_full):
                self._saved.popitem(last=False)

    def forget(self, entry: Entry) -> None:
        """The entry is settled, or is to be judged anew."""
        with self._lock:
            self._saved.pop(_key(entry), None)

    @property
    def _is_full(self) -> bool:
        return sum(found.size_bytes for found in self._saved.values()) > KEPT_BYTES


@dataclass(frozen=True, slots=True)
class _Found:
    """As in :class:`Lines`, in less memory."""

    at_seconds: float
    status: bytes
    messages: dict[int, str]
    parts: list[array[int]]
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        texts = {id(text): len(text) for text in self.messages.values()}  # many lines share one
        in_parts = sum(part.itemsize * len(part) for part in self.parts)
        in_messages = _MESSAGE_BYTES * len(self.messages) + sum(texts.values())
        object.__setattr__(self, "size_bytes", len(self.status) + in_parts + in_messages)


def _key(entry: Entry) -> tuple[str, str]:
    """A name for good: a Redis that fell back gives ids again, but no payload keys."""
    return entry.id, entry.payload_key
