"""Streams, dead letters and the ledger in memory: what lies in Redis, for all workers together.

:mod:`tests.doubles.memory_stream` is a worker's view of its streams,
:mod:`tests.doubles.memory_windows` an extractor's view of its feeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.state.keys import feed_of
from common.state.ledger import Audit, Depth, accounts_of
from common.state.stream import ENTRY_SCHEMA
from tests.doubles.memory_seals import MemorySeals
from tests.doubles.size_classes import ENTRY_OVERHEAD_BYTES

NOTHING: Mapping[bytes, bytes] = {}
# The fields of an entry that its outputs and dead letters have, too.
BOUNDS = (b"start_ms", b"end_ms")


@dataclass
class Stored:
    fields: dict[bytes, bytes]
    payload_key: str


@dataclass
class Record:
    samples: int
    bytes: int
    feed: str
    window_id: str
    payload_key: str


@dataclass
class Pending:
    consumer: str
    since_ms: int


@dataclass
class StagedPayload:
    """A payload that no window has committed yet, and when it vanishes by itself."""

    bytes: int
    expires_ms: int


@dataclass
class StreamState:
    entries: dict[str, Stored] = field(default_factory=dict)
    delivered: set[str] = field(default_factory=set)
    pending: dict[str, Pending] = field(default_factory=dict)
    in_flight: dict[str, Record] = field(default_factory=dict)
    crashes: dict[str, int] = field(default_factory=dict)
    not_before_ms: dict[str, int] = field(default_factory=dict)
    consumers: set[str] = field(default_factory=set)


class MemoryBroker:
    """All streams, payloads and the ledger of one pipeline."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.streams: dict[str, StreamState] = {}
        self.payloads: dict[str, bytes] = {}
        self.ledger: dict[str, int] = {}
        self.unsettled: dict[str, int] = {}
        # Committed windows with unsettled entries: feed, start and end in ms.
        self.committed: dict[str, tuple[str, int, int]] = {}
        self.staged: dict[str, StagedPayload] = {}
        self.paused = False
        self.dead: list[Mapping[str, Any]] = []
        self.ids = itertools.count(1)
        self.seals = MemorySeals()
        # Entries of which the verifier was to compare the windows again.
        self.compared_again: list[str] = []

    def state(self, stream: str) -> StreamState:
        """The named stream, empty at first."""
        return self.streams.setdefault(stream, StreamState())

    def append(
        self,
        stream: str,
        query: str,
        tier: str,
        kind: str,
        window_id: str,
        payload: bytes,
        samples: int,
        more: Mapping[bytes, bytes] = NOTHING,
    ) -> str:
        """Add an entry and record it as in flight (not as extracted); its id."""
        key = f"payload:{next(self.ids)}"
        self.payloads[key] = payload
        return self.enqueue(stream, query, tier, kind, window_id, key, samples, more)

    def enqueue(
        self,
        stream: str,
        query: str,
        tier: str,
        kind: str,
        window_id: str,
        payload_key: str,
        samples: int,
        more: Mapping[bytes, bytes] = NOTHING,
    ) -> str:
        """The same for a payload that is there already; ``more`` are fields of the entry."""
        state = self.state(stream)
        id_ = f"{self.now_ms()}-{next(self.ids)}"
        state.entries[id_] = Stored(
            {
                b"schema": str(ENTRY_SCHEMA).encode(),
                b"query": query.encode(),
                b"tier": tier.encode(),
                b"kind": kind.encode(),
                b"window": window_id.encode(),
                b"samples": str(samples).encode(),
                b"payload": payload_key.encode(),
                **more,
            },
            payload_key,
        )
        state.in_flight[id_] = Record(
            samples,
            len(self.payloads.get(payload_key, b"")) + ENTRY_OVERHEAD_BYTES,
            feed_of(query, tier),
            window_id,
            payload_key,
        )
        return id_

    def commit(
        self,
        stream: str,
        query: str,
        tier: str,
        kind: str,
        window_id: str,
        payloads: Sequence[tuple[bytes, int]],
    ) -> list[str]:
        """Append a window's entries and count them as extracted, as a window commit does."""
        ids = [
            self.append(stream, query, tier, kind, window_id, payload, samples)
            for payload, samples in payloads
        ]
        if ids:
            self.unsettled[window_id] = len(ids)
            self.count(f"{feed_of(query, tier)}|extracted", sum(n for _, n in payloads))
        return ids

    def count(self, name: str, samples: int) -> None:
        """Add to a field of the ledger."""
        self.ledger[name] = self.ledger.get(name, 0) + samples

    def drop_expired(self) -> None:
        """Remove payloads that were staged and not committed in time."""
        for key in [k for k, staged in self.staged.items() if staged.expires_ms <= self.now_ms()]:
            del self.staged[key]
            self.payloads.pop(key, None)

    def replay(self, letter: Mapping[str, Any], stream: str) -> bool:
        """Take a dead letter up again, as ``replay.lua`` does; False when it was deleted."""
        if letter not in self.dead:
            return False
        self.dead.remove(letter)
        names = ("query", "tier", "kind", "window", "payload", "samples")
        query, tier, kind, window, payload, samples = (letter[name] for name in names)
        more = {**letter["bounds"], b"replayed": b"1"}
        self.append(stream, query, tier, kind, window, payload, samples, more)
        self.count(f"{letter['feed']}|dead_lettered", -letter["samples"])
        if letter["window"] in self.unsettled:
            self.unsettled[letter["window"]] += 1
        return True

    def purge(self, letter: Mapping[str, Any]) -> bool:
        """Give a dead letter up, as ``purge.lua`` does; False when it was deleted."""
        if letter not in self.dead:
            return False
        self.dead.remove(letter)
        self.count(f"{letter['feed']}|dead_lettered", -letter["samples"])
        self.count(f"{letter['feed']}|dropped|purged", letter["samples"])
        return True

    def audit(self) -> Audit:
        """The same atomic read as :meth:`common.state.ledger.Ledger.audit`."""
        self.drop_expired()
        depths = {name: self._depth(state) for name, state in self.streams.items()}
        return Audit(
            now_ms=self.now_ms(),
            accounts=accounts_of(self.ledger, depths),
            streams=depths,
            staged_bytes=sum(staged.bytes for staged in self.staged.values()),
            dead_letter_entries=len(self.dead),
            deleted_dead_samples={},
            back_pressure=self.paused,
        )

    def _depth(self, state: StreamState) -> Depth:
        feeds: dict[str, int] = {}
        lost: dict[str, int] = {}
        samples = size = 0
        for id_, record in state.in_flight.items():
            deliverable = id_ not in state.delivered or id_ in state.pending
            if id_ in state.entries and deliverable and record.payload_key in self.payloads:
                feeds[record.feed] = feeds.get(record.feed, 0) + record.samples
                samples += record.samples
                size += record.bytes
            else:
                lost[record.feed] = lost.get(record.feed, 0) + record.samples
        unaccounted = [id_ for id_ in state.entries if id_ not in state.in_flight]
        return Depth(
            entries=len(state.entries),
            samples=samples,
            bytes=size,
            oldest_ms=min((int(id_.split("-")[0]) for id_ in state.entries), default=0),
            feeds=feeds,
            lost_samples=lost,
            unaccounted_entries=len(unaccounted),
            unaccounted_samples=sum(
                int(state.entries[id_].fields[b"samples"]) for id_ in unaccounted
            ),
        )
