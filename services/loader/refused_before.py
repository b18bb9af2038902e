"""What is refused again and again is set aside without trying each time.

A measurement whose field has another type in the bucket is refused line by line in every entry,
for days. To search for its lines each time would cost many posts for what is known, and slow down
all others. After a few entries in a row of which the sink took no line of a measurement, its lines
become dead letters at once. Now and then an entry is tried all the same, and whatever an operator
replays: one line that is taken ends it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from common.errors import WireError
from common.runtime.telemetry import Telemetry
from common.state.verdict import Entry
from services.loader import payload
from services.loader.lines import Lines, LineStatus, cause_of, place_of

REFUSED_ENTRIES = 3
TRY_EVERY_SECONDS = 30.0
# Of other measurements nothing is remembered: they are tried.
MOST_MEASUREMENTS = 10_000

NOT_TRIED = " (not tried: of this measurement nothing was taken lately)"

# The other reasons lie in single lines or series, and say nothing of the next ones.
_REMEMBERED = frozenset({LineStatus.REJECTED})
_Feed = tuple[str, str, str]  # query, tier, bucket
_Key = tuple[str, str, str, str]  # and measurement and field


@dataclass(slots=True)
class _Refused:
    status: LineStatus
    message: str
    entries: int = 0
    try_at_seconds: float = 0.0


@dataclass
class RefusedBefore:
    """Remembered by query, tier, bucket, measurement and field; safe to use from any thread."""

    telemetry: Telemetry
    clock: Callable[[], float] = time.monotonic
    _known: dict[_Key, _Refused] = field(default_factory=dict, init=False)
    _feeds: dict[_Feed, int] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def mark(self, entry: Entry, bucket: str, lines: Lines | None) -> Lines | None:
        """The entry's lines with those set aside that need no try; ``lines`` if there are none.

        Raises :class:`common.errors.WireError` if the payload cannot be inflated.
        """
        feed = entry.query, entry.tier, bucket
        if not self._feeds.get(feed) or b"replayed" in entry.fields:
            return lines
        found = lines or Lines(payload.decode(entry.payload, entry.samples))
        names = [place_of(line) for line in found.text]
        with self._lock:
            refused = {
                name: known
                for name in set(names)
                if (known := self._to_set_aside(feed, name)) is not None
            }
        marked = 0
        for index in found.open:
            if (known := refused.get(names[index])) is not None:
                found.status[index] = known.status
                found.messages[index] = known.message + NOT_TRIED
                marked += 1
        if not marked:
            return lines
        self.telemetry.inc("etl_sink_untried_samples_total", marked)
        return found

    def learn(self, entry: Entry, bucket: str, lines: Lines) -> None:
        """Every line of the entry is decided: remember of which measurements none was taken."""
        feed = entry.query, entry.tier, bucket
        if not lines.bad and not self._feeds.get(feed):
            return
        taken: set[str] = set()
        refused: dict[str, int] = {}
        for index, line in enumerate(lines.text):
            status = lines.status[index]
            if status == LineStatus.WRITTEN:
                taken.add(place_of(line))
            elif status in _REMEMBERED and not lines.messages[index].endswith(NOT_TRIED):
                refused.setdefault(place_of(line), index)
        with self._lock:
            for name in taken:
                self._forget((*feed, name))
            for name in refused.keys() - taken:
                index = refused[name]
                status = LineStatus(lines.status[index])
                self._add(feed, name, status, cause_of(lines.messages[index]))

    def clear(self) -> None:
        """What a sick sink refused says nothing of the one that heals."""
        with self._lock:
            self._known.clear()
            self._feeds.clear()

    def all_taken(self, entry: Entry, bucket: str) -> None:
        """The sink took every line of the entry, at once."""
        feed = entry.query, entry.tier, bucket
        if self._feeds.get(feed):
            try:
                lines = payload.decode(entry.payload, entry.samples)
            except WireError:
                return  # whatever the sink made of it
            with self._lock:
                for name in set(map(place_of, lines)):
                    self._forget((*feed, name))

    # -- by who has the lock ---------------------------------------------------------------

    def _to_set_aside(self, feed: _Feed, measurement: str) -> _Refused | None:
        known = self._known.get((*feed, measurement))
        if known is None or known.entries < REFUSED_ENTRIES:
            return None
        now = self.clock()
        if now >= known.try_at_seconds:
            known.try_at_seconds = now + TRY_EVERY_SECONDS
            return None
        return known

    def _add(self, feed: _Feed, name: str, status: LineStatus, message: str) -> None:
        key = (*feed, name)
        known = self._known.get(key)
        if known is None or known.status != status:
            if known is None and len(self._known) >= MOST_MEASUREMENTS:
                return
            if known is None:
                self._feeds[feed] = self._feeds.get(feed, 0) + 1
            known = self._known[key] = _Refused(status, message)
        known.entries += 1
        known.message = message
        if known.entries == REFUSED_ENTRIES:
            known.try_at_seconds = self.clock() + TRY_EVERY_SECONDS

    def _forget(self, key: _Key) -> None:
        if self._known.pop(key, None) is not None:
            self._feeds[key[:3]] -= 1
