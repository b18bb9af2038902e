"""The stream in memory: the twin of :class:`common.state.stream.RedisStream`.

It obeys the same contract suite, and is where the state machine tests run, because there time is a
number and a crash is a method call.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.state.keys import feed_of
from common.state.stream import RELEASED, Claimed, RedisStream, SettleResult
from common.state.verdict import Entry, Settle, may_have_replaced
from tests.doubles.memory_broker import BOUNDS, MemoryBroker, Pending, StreamState


class MemoryStream(RedisStream):
    """One consumer's view of a stream; :class:`RedisStream` explains the methods."""

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
        self._max_dead = dead_letters_max_entries

    @property
    def _state(self) -> StreamState:
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
            state.pending[id_] = Pending(self.consumer, self._broker.now_ms())
        return [self._entry(id_) for id_ in fresh]

    def claim(self, count: int, *, from_head: bool = False) -> Claimed:
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
        lost = [id_ for id_ in ids if not self._ours(id_)]
        for id_ in ids:
            if id_ not in lost and id_ in self._state.entries:
                self._state.pending[id_] = Pending(self.consumer, self._broker.now_ms())
        return lost

    def release(
        self, ids: Sequence[str], after_seconds: float = 0.0, *, crashed: bool = False
    ) -> int:
        state, now = self._state, self._broker.now_ms()
        ours = [id_ for id_ in ids if self._ours(id_) and id_ in state.entries]
        for id_ in ours:
            state.pending[id_] = Pending(RELEASED, now)
            state.not_before_ms[id_] = now + int(after_seconds * 1000)
            if crashed:
                state.crashes[id_] = state.crashes.get(id_, 0) + 1
        return len(ours)

    def settle(self, entry: Entry, verdict: Settle, stage: str) -> SettleResult:
        broker, state = self._broker, self._state
        if not self._ours(entry.id):
            return SettleResult.REFUSED
        record = state.in_flight.get(entry.id)
        if verdict.samples != (record.samples if record else entry.samples):
            return SettleResult.MISMATCH
        if verdict.dead and len(broker.dead) + len(verdict.dead) > self._max_dead:
            return SettleResult.DEAD_FULL
        feed = record.feed if record else feed_of(entry.query, entry.tier)
        window_id = record.window_id if record else entry.window_id
        bounds = {name: entry.fields[name] for name in BOUNDS if name in entry.fields}
        replayed = {name: b"1" for name in entry.fields if name == b"replayed"}
        for output in verdict.outputs:
            digest = {b"digest": output.digest.text.encode()} if output.digest else {}
            broker.append(
                self._outbound,
                entry.query,
                entry.tier,
                entry.kind,
                window_id,
                output.payload,
                output.samples,
                {**bounds, **replayed, **digest},
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
                    "bounds": bounds,
                }
            )
            broker.count(f"{feed}|dead_lettered", letter.samples)
        self._remove(entry.id)
        if verdict.loaded:
            broker.count(f"{feed}|loaded", verdict.loaded)
        for reason, samples in verdict.drops.items():
            broker.count(f"{feed}|dropped|{reason}", samples)
        if window_id in broker.unsettled:
            broker.unsettled[window_id] += len(verdict.outputs) - 1
            last = broker.unsettled[window_id] <= 0
            if committed := broker.committed.get(window_id):
                place = committed[0], committed[2]
                broker.seals.loaded(window_id, place, verdict.loaded, verdict.digest, last=last)
            if last:
                del broker.unsettled[window_id]
                broker.committed.pop(window_id, None)
        elif replayed and bounds and verdict.loaded:
            broker.seals.loaded_again(window_id, bounds, feed, verdict.digest)
        return SettleResult.OK

    def knows_window(self, entry: Entry) -> bool:
        """Windows are not opened again here."""
        return False

    def compare_again(self, entry: Entry, refused: Settle) -> None:
        """No verifier reads this; the broker keeps it."""
        if may_have_replaced(entry, refused):
            self._broker.compared_again.append(entry.id)

    def forget_consumers(self, idle_seconds: float, only_self: bool = False) -> int:
        """Idleness is not kept here."""
        state = self._state
        busy = {pending.consumer for pending in state.pending.values()}
        idle = {name for name in state.consumers - busy if name == self.consumer or not only_self}
        state.consumers -= idle
        return len(idle)

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
        state.pending[id_] = Pending(self.consumer, self._broker.now_ms())
        taken.append(id_)

    def _remove(self, id_: str) -> None:
        state = self._state
        del state.pending[id_]
        stored, record = state.entries.pop(id_, None), state.in_flight.pop(id_, None)
        if (found := record or stored) is not None:
            self._broker.payloads.pop(found.payload_key, None)
        state.crashes.pop(id_, None)

    def _entry(self, id_: str) -> Entry:
        state = self._state
        stored, record = state.entries[id_], state.in_flight.get(id_)
        payload = self._broker.payloads.get(stored.payload_key)
        return Entry(
            id=id_,
            schema=int(stored.fields[b"schema"]),
            query=stored.fields[b"query"].decode(),
            tier=stored.fields[b"tier"].decode(),
            kind=stored.fields[b"kind"].decode(),
            window_id=stored.fields[b"window"].decode(),
            samples=record.samples if record else int(stored.fields[b"samples"]),
            payload=payload if payload is not None else b"",
            crashes=state.crashes.get(id_, 0),
            payload_key=stored.payload_key,
            payload_missing=payload is None,
            digest=stored.fields.get(b"digest", b"").decode(),
            fields=dict(stored.fields),
        )
