"""Reads what is in flight in steps that block Redis for milliseconds, exactly as of one instant.

The first step is one atomic read of the ledger and of where the streams end; what is not more than
one step holds is read whole by it. Else the entries up to there are walked in further steps, and
``settle`` notes what it takes away. An entry that was settled before the walk came to it was in
flight at that instant, so it is counted from the note. Entries that came later have higher ids.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from common.state.fields import count_of, text_of
from common.state.keys import GROUP, SETTLED_NOTED, STREAMS, Keys
from common.state.scripts import Scripts

# How many entries one step looks at: some 4 ms of Redis' time on an idle core (Redis 7.0).
MOST_ENTRIES = 500

_Id = tuple[int, int]
_NOWHERE: _Id = (0, 0)


class AuditMovedError(RedisError):
    """More was settled during each reading than is noted, so none of them was exact."""


@dataclass(slots=True)
class Walk:
    """What a stream held at the instant of the first step."""

    entries: int
    records: int
    upto: str | None
    settled_before: str | None  # the newest note
    oldest_ms: int
    samples: int = 0
    size_bytes: int = 0
    feeds: Counter[str] = field(default_factory=Counter)
    lost_samples: Counter[str] = field(default_factory=Counter)
    unaccounted_entries: int = 0
    unaccounted_samples: int = 0
    recorded: int = 0
    after: str | None = "-"
    # Of each step: the last id that it looked at, and the newest note at that time.
    steps: list[tuple[_Id, _Id]] = field(default_factory=list)

    def add(self, page: dict[str, Any]) -> None:
        """Add the entries of one step."""
        self.samples += int(page["samples"])
        self.size_bytes += int(page["bytes"])
        self.recorded += int(page["recorded"])
        self.unaccounted_entries += int(page["unaccounted_entries"])
        self.unaccounted_samples += int(page["unaccounted_samples"])
        for total, part in ((self.feeds, "feeds"), (self.lost_samples, "lost_samples")):
            for feed, samples in dict(page[part]).items():
                total[feed] += int(samples)
        after = page.get("after")
        self.steps.append((_id_of(after or self.upto), _id_of(page.get("settled"))))
        self.after = None if after is None else f"({after}"

    def add_settled(self, note: _Id, entry: str, record: bytes) -> None:
        """Count an entry that was settled after the first step and before its own step."""
        id_ = _id_of(entry)
        walked_at = next((at for last, at in self.steps if id_ <= last), None)
        samples, size, feed, *_ = (*record.split(b" "), b"", b"", b"")
        if walked_at is not None and note <= walked_at:
            self.samples += count_of(samples)
            self.size_bytes += count_of(size)
            self.feeds[text_of(feed)] += count_of(samples)
            self.recorded += 1


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading. ``at_once``: the first step was enough."""

    head: dict[str, Any]
    walks: dict[str, Walk]
    deleted_dead_samples: dict[str, int]
    at_once: bool


class AuditReader:
    """Takes readings of one pipeline's keys, ``most_entries`` in a step."""

    def __init__(
        self, redis: Redis, keys: Keys, scripts: Scripts, most_entries: int = MOST_ENTRIES
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = scripts
        self._most = most_entries

    def read(self) -> Reading | None:
        """A reading; ``None`` where more was settled meanwhile than is noted.

        Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
        """
        head = self._step()
        walks = {
            name: Walk(
                int(found["entries"]),
                int(found["records"]),
                found.get("upto"),
                found.get("settled"),
                int(found["oldest_ms"]),
            )
            for name, found in head["heads"].items()
        }
        for name, walk in walks.items():
            page = head["pages"].get(name)
            if page:
                walk.add(page)
            elif walk.upto is None:
                walk.after = None
        steps = 1
        while cursors := {n: (w.after, w.upto) for n, w in walks.items() if w.after is not None}:
            for name, page in self._step(cursors=cursors)["pages"].items():
                walks[name].add(page)
            steps += 1
        if steps > 1 and not all(self._add_settled(name, walk) for name, walk in walks.items()):
            return None
        for name, walk in walks.items():
            if walk.recorded < walk.records:
                self._add_deleted(name, walk)
                steps += 1
        deleted: Counter[str] = Counter()
        if head["dead_records_differ"]:
            steps += 1
            keys = self._keys
            for _, record in self._without(keys.dead_records, keys.dead, keys.dead_counted):
                samples, _, feed = record.partition(b" ")
                deleted[text_of(feed) or "?"] += count_of(samples)
        return Reading(head, walks, dict(deleted), steps == 1)

    def _step(self, **args: Any) -> dict[str, Any]:
        keys = self._keys
        names = [keys.ledger, keys.staged, keys.back_pressure, keys.dead, keys.dead_records]
        for stream in STREAMS:
            names += [keys.stream(stream), keys.in_flight(stream), keys.settled(stream)]
        names.append(keys.dead_counted)
        reply: bytes = self._scripts.read(
            "audit/step", names, group=GROUP, streams=STREAMS, most=self._most, **args
        )
        # A field that somebody else wrote must not hide all the others.
        found: dict[str, Any] = json.loads(text_of(reply))
        found["pages"] = dict(found["pages"])
        return found

    def _add_settled(self, name: str, walk: Walk) -> bool:
        """Count what was settled before the walk came to it; whether all of it is noted still."""
        noted, before = self._keys.settled(name), walk.settled_before
        after = f"({before}" if before else "-"
        while True:
            page: Any = self._redis.xrange(noted, min=after, max="+", count=self._most)
            for id_, fields in page:
                entry = text_of(fields.get(b"entry"))
                walk.add_settled(_id_of(text_of(id_)), entry, fields.get(b"record", b""))
            if len(page) < self._most:
                break
            after = f"({text_of(page[-1][0])}"
        # The oldest are forgotten first: while this one is there, so are those after it.
        if before:
            return bool(self._redis.xrange(noted, min=before, max=before))
        return int(self._redis.xlen(noted)) < SETTLED_NOTED

    def _add_deleted(self, name: str, walk: Walk) -> None:
        """Count records whose entry somebody deleted."""
        keys = self._keys
        for id_, record in self._without(keys.in_flight(name), keys.stream(name)):
            if _id_of(id_) <= _id_of(walk.upto) or _id_of(id_) == _NOWHERE or not walk.upto:
                samples, _, feed, *_ = (*record.split(b" "), b"", b"", b"")
                walk.lost_samples[text_of(feed) or "?"] += count_of(samples)

    def _without(self, records: str, *of: str) -> Iterator[tuple[str, bytes]]:
        """The records (id and text) that are of nothing in a stream, nor of a field of a hash."""
        found: dict[str, bytes] = {}
        cursor = "0"
        while True:
            reply = self._scripts.read(
                "audit/records", [records, *of], cursor=cursor, most=self._most
            )
            cursor = text_of(reply[0])
            found |= {text_of(i): r for i, r in zip(reply[1::2], reply[2::2], strict=True)}
            if cursor == "0":
                return iter(found.items())


def _id_of(text: str | None) -> _Id:
    ms, _, seq = (text or "").partition("-")
    return (int(ms), int(seq)) if ms.isdigit() and seq.isdigit() else _NOWHERE
