"""Streams, dead letters and books in memory, for tests of whatever runs on top of a stream.

They obey the same contract suite as :class:`common.state.stream.RedisStream`, and are where
the state machine tests run, because there time is a number and a crash is a method call. The
window set that feeds them is :mod:`tests.doubles.memory_windows`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.state.keys import feed_of
from common.state.ledger import Audit, Depth, accounts_of
from common.state.stream import ENTRY_SCHEMA, RELEASED, Claimed, SettleResult
from common.state.verdict import Entry, Settle
from tests.doubles.size_classes import ENTRY_OVERHEAD_BYTES


@dataclass
class _Stored:
    fields: dict[bytes, bytes]
    payload_key: str


@dataclass
class _Booked:
    samples: int
    bytes: int
    feed: str
    window_id: str
    payload_key: str


@dataclass
class _Pending:
    consumer: str
    since_ms: int


@dataclass
class StagedPayload:
    """A payload that no window has committed yet, and when it vanishes by itself."""

    bytes: int
    expires_ms: int


@dataclass
class _StreamState:
    entries: dict[str, _Stored] = field(default_factory=dict)
    delivered: set[str] = field(default_factory=set)
    pending: dict[str, _Pending] = field(default_factory=dict)
    in_flight: dict[str, _Booked] = field(default_factory=dict)
    crashes: dict[str, int] = field(default_factory=dict)
    not_before_ms: dict[str, int] = field(default_factory=dict)
    consumers: set[str] = field(default_factory=set)


class MemoryBroker:
    """All streams, payloads and books of one pipeline."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.streams: dict[str, _StreamState] = {}
        self.payloads: dict[str, bytes] = {}
        self.ledger: dict[str, int] = {}
        self.unsettled: dict[str, int] = {}
        # Committed windows with unsettled entries: feed, start and end in ms.
        self.committed: dict[str, tuple[str, int, int]] = {}
        self.staged: dict[str, StagedPayload] = {}
        self.paused = False
        self.dead: list[Mapping[str, Any]] = []
        self.ids = itertools.count(1)

    def state(self, stream: str) -> _StreamState:
        """The named stream, empty at first."""
        return self.streams.setdefault(stream, _StreamState())

    def append(
        self,
        stream: str,
        query: str,
        tier: str,
        kind: str,
        window_id: str,
        payload: bytes,
        samples: int,
    ) -> str:
        """Add an entry and book it as in flight (not as extracted); its id."""
        key = f"payload:{next(self.ids)}"
        self.payloads[key] = payload
        return self.enqueue(stream, query, tier, kind, window_id, key, samples)

    def enqueue(
        self,
        stream: str,
        query: str,
        tier: str,
        kind: str,
        window_id: str,
        payload_key: str,
        samples: int,
    ) -> str:
        """The same for a payload that is there already."""
        state = self.state(stream)
        id_ = f"{self.now_ms()}-{next(self.ids)}"
        state.entries[id_] = _Stored(
            {
                b"schema": str(ENTRY_SCHEMA).encode(),
                b"query": query.encode(),
                b"tier": tier.encode(),
                b"kind": kind.encode(),
                b"window": window_id.encode(),
                b"samples": str(samples).encode(),
                b"payload": payload_key.encode(),
            },
            payload_key,
        )
        state.in_flight[id_] = _Booked(
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
        """Append a window's entries and book them as extracted, as a window commit does."""
        ids = [
            self.append(stream, query, tier, kind, window_id, payload, samples)
            for payload, samples in payloads
        ]
        if ids:
            self.unsettled[window_id] = len(ids)
            self.book(f"{feed_of(query, tier)}|extracted", sum(n for _, n in payloads))
        return ids

    def book(self, name: str, samples: int) -> None:
        """Add to a field of the ledger."""
        self.ledger[name] = self.ledger.get(name, 0) + samples

    def drop_expired(self) -> None:
        """Payloads that were staged and not committed in time are gone."""
        for key in [k for k, staged in self.staged.items() if staged.expires_ms <= self.now_ms()]:
            del self.staged[key]
            self.payloads.pop(key, None)

    def replay(self, letter: Mapping[str, Any], stream: str) -> bool:
        """Take a dead letter up again, as ``replay.lua`` does; False when it is gone."""
        if letter not in self.dead:
            return False
        self.dead.remove(letter)
        self.append(
            stream,
            *(letter[name] for name in ("query", "tier", "kind", "window", "payload", "samples")),
        )
        self.book(f"{letter['feed']}|dead_lettered", -letter["samples"])
        if letter["window"] in self.unsettled:
            self.unsettled[letter["window"]] += 1
        return True

    def purge(self, letter: Mapping[str, Any]) -> bool:
        """Give a dead letter up, as ``purge.lua`` does; False when it is gone."""
        if letter not in self.dead:
            return False
        self.dead.remove(letter)
        self.book(f"{letter['feed']}|dead_lettered", -letter["samples"])
        self.book(f"{letter['feed']}|dropped|purged", letter["samples"])
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

    def _depth(self, state: _StreamState) -> Depth:
        feeds: dict[str, int] = {}
        lost: dict[str, int] = {}
        samples = size = 0
        for id_, booked in state.in_flight.items():
            deliverable = id_ not in state.delivered or id_ in state.pending
            if id_ in state.entries and deliverable and booked.payload_key in self.payloads:
                feeds[booked.feed] = feeds.get(booked.feed, 0) + booked.samples
                samples += booked.samples
                size += booked.bytes
            else:
                lost[booked.feed] = lost.get(booked.feed, 0) + booked.samples
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


class MemoryStream:
    """One consumer's view of a stream of a :class:`MemoryBroker`."""

    def __init__(
        self,
        broker: MemoryBroker,
        inbound: str,
        consumer: str,
        *,
        outbound: str | None = None,
        lease_seconds: float = 30.0,
        dead_letters_max_entries: int = 100_000,
    ) -> None:
        self._broker = broker
        self.inbound = inbound
        self.consumer = consumer
        self._outbound = outbound or inbound
        self._lease_ms = int(lease_seconds * 1000)
        self._dead_max = dead_letters_max_entries

    @property
    def _state(self) -> _StreamState:
        return self._broker.state(self.inbound)

    def ensure(self) -> None:
        """Nothing to create: the group is there with the stream."""
        self._broker.state(self.inbound)

    def read(self, count: int, block_seconds: float) -> list[Entry]:
        """New entries; never waits."""
        state = self._state
        state.consumers.add(self.consumer)
        fresh = [id_ for id_ in state.entries if id_ not in state.delivered][:count]
        for id_ in fresh:
            state.delivered.add(id_)
            state.pending[id_] = _Pending(self.consumer, self._broker.now_ms())
        return [self._entry(id_) for id_ in fresh]

    def claim(self, count: int) -> Claimed:
        """See :meth:`common.state.stream.Stream.claim`."""
        state, now = self._state, self._broker.now_ms()
        taken: list[str] = []
        deleted: list[str] = []
        for id_ in sorted(i for i, p in state.pending.items() if p.consumer == RELEASED):
            if len(taken) >= count:
                break
            if state.not_before_ms.get(id_, 0) > now:
                continue
            if id_ in state.crashes:
                if not taken:
                    self._take(id_, taken, deleted)
                    if taken:
                        return Claimed([self._entry(i) for i in taken], deleted)
            else:
                self._take(id_, taken, deleted)
        if not taken:
            for id_, pending in sorted(state.pending.items()):
                if pending.consumer == RELEASED or now - pending.since_ms < self._lease_ms:
                    continue
                if id_ in state.entries and pending.consumer != self.consumer:
                    if not taken:
                        state.crashes[id_] = state.crashes.get(id_, 0) + 1
                        self._take(id_, taken, deleted)
                    break
                self._take(id_, taken, deleted)
                if len(taken) >= count:
                    break
        return Claimed([self._entry(id_) for id_ in taken], deleted)

    def renew(self, ids: Sequence[str]) -> list[str]:
        """See :meth:`common.state.stream.Stream.renew`."""
        lost = [id_ for id_ in ids if not self._ours(id_)]
        for id_ in ids:
            if id_ not in lost and id_ in self._state.entries:
                self._state.pending[id_] = _Pending(self.consumer, self._broker.now_ms())
        return lost

    def release(
        self, ids: Sequence[str], after_seconds: float = 0.0, *, crashed: bool = False
    ) -> int:
        """See :meth:`common.state.stream.Stream.release`."""
        state, now = self._state, self._broker.now_ms()
        ours = [id_ for id_ in ids if self._ours(id_) and id_ in state.entries]
        for id_ in ours:
            state.pending[id_] = _Pending(RELEASED, now)
            state.not_before_ms[id_] = now + int(after_seconds * 1000)
            if crashed:
                state.crashes[id_] = state.crashes.get(id_, 0) + 1
        return len(ours)

    def settle(self, entry: Entry, verdict: Settle, stage: str) -> SettleResult:
        """See :meth:`common.state.stream.Stream.settle`."""
        broker, state = self._broker, self._state
        if not self._ours(entry.id):
            return SettleResult.REFUSED
        held = state.in_flight.get(entry.id)
        if verdict.samples != (held.samples if held else entry.samples):
            return SettleResult.MISMATCH
        if verdict.dead and len(broker.dead) + len(verdict.dead) > self._dead_max:
            return SettleResult.DEAD_FULL
        feed = held.feed if held else feed_of(entry.query, entry.tier)
        window_id = held.window_id if held else entry.window_id
        for output in verdict.outputs:
            broker.append(
                self._outbound,
                entry.query,
                entry.tier,
                entry.kind,
                window_id,
                output.payload,
                output.samples,
            )
        for letter in verdict.dead:
            broker.dead.append(
                {
                    "id": f"{broker.now_ms()}-{next(broker.ids)}",
                    "stage": stage,
                    "reason": letter.reason,
                    "detail": letter.detail,
                    "query": entry.query,
                    "tier": entry.tier,
                    "kind": entry.kind,
                    "window": window_id,
                    "feed": feed,
                    "entry": entry.id,
                    "samples": letter.samples,
                    "payload": letter.payload,
                }
            )
            broker.book(f"{feed}|dead_lettered", letter.samples)
        self._remove(entry.id)
        if verdict.loaded:
            broker.book(f"{feed}|loaded", verdict.loaded)
        for reason, samples in verdict.drops.items():
            broker.book(f"{feed}|dropped|{reason}", samples)
        if window_id in broker.unsettled:
            broker.unsettled[window_id] += len(verdict.outputs) - 1
            if broker.unsettled[window_id] <= 0:
                del broker.unsettled[window_id]
                broker.committed.pop(window_id, None)
        return SettleResult.OK

    def forget_consumers(self, idle_seconds: float, only_self: bool = False) -> int:
        """See :meth:`common.state.stream.Stream.forget_consumers`; idleness is not kept here."""
        state = self._state
        busy = {pending.consumer for pending in state.pending.values()}
        gone = {name for name in state.consumers - busy if name == self.consumer or not only_self}
        state.consumers -= gone
        return len(gone)

    def _ours(self, id_: str) -> bool:
        pending = self._state.pending.get(id_)
        return pending is not None and pending.consumer == self.consumer

    def _take(self, id_: str, taken: list[str], deleted: list[str]) -> None:
        state = self._state
        state.not_before_ms.pop(id_, None)
        if id_ not in state.entries:
            del state.pending[id_]
            deleted.append(id_)
            return
        state.pending[id_] = _Pending(self.consumer, self._broker.now_ms())
        taken.append(id_)

    def _remove(self, id_: str) -> None:
        state = self._state
        del state.pending[id_]
        stored, held = state.entries.pop(id_, None), state.in_flight.pop(id_, None)
        if (found := held or stored) is not None:
            self._broker.payloads.pop(found.payload_key, None)
        state.crashes.pop(id_, None)

    def _entry(self, id_: str) -> Entry:
        state = self._state
        stored, held = state.entries[id_], state.in_flight.get(id_)
        payload = self._broker.payloads.get(stored.payload_key)
        return Entry(
            id=id_,
            schema=int(stored.fields[b"schema"]),
            query=stored.fields[b"query"].decode(),
            tier=stored.fields[b"tier"].decode(),
            kind=stored.fields[b"kind"].decode(),
            window_id=stored.fields[b"window"].decode(),
            samples=held.samples if held else int(stored.fields[b"samples"]),
            payload=payload if payload is not None else b"",
            crashes=state.crashes.get(id_, 0),
            payload_key=stored.payload_key,
            payload_missing=payload is None,
            fields=dict(stored.fields),
        )
