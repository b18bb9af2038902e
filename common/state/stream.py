"""A Redis Stream with one consumer group, whose hand-offs are atomic scripts.

Entries are metadata; a payload lies in a key of its own, named by its entry. What moves an entry
moves its payload, its in-flight record and the ledger in the same script, so the books are exact
at every instant.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from redis import Redis
from redis.exceptions import ResponseError

from common.state.keys import GROUP, Keys
from common.state.scripts import Scripts
from common.state.verdict import Entry, Settle

ENTRY_SCHEMA = 1

# Who holds, in the group, the entries that workers gave back.
SHELF = "-given-back-"

# What an entry costs Redis beside its payload (stream node, hash field, pending record, key),
# measured on 7.0; counted so that many small entries press back like few large ones.
ENTRY_OVERHEAD_BYTES = 512


class SettleResult(Enum):
    """What became of a settlement."""

    OK = "ok"
    REFUSED = "refused"  # not pending with us any more: another worker has it, or it is settled
    MISMATCH = "mismatch"  # the verdict does not account for every sample of the entry
    DEAD_FULL = "dead_full"  # the dead letters are at their cap
    WRONG_TYPE = "wrong_type"  # a key of ours holds something else


@dataclass(frozen=True, slots=True)
class Claimed:
    """Entries taken over, and the ids that were pending although their entry had been deleted."""

    entries: Sequence[Entry] = ()
    deleted: Sequence[str] = ()


class Stream(Protocol):
    """One consumer's view of a stream; the contract that Redis and memory are both held to."""

    def ensure(self) -> None:
        """Create stream and group where missing; entries that are there already are not skipped."""
        ...

    def read(self, count: int, block_seconds: float) -> list[Entry]:
        """New entries, at most ``count``; waits up to ``block_seconds`` for the first."""
        ...

    def claim(self, count: int) -> Claimed:
        """Entries given back whose time has come, or whose worker's lease ran out.

        An entry that a worker died with is handed out alone.
        """
        ...

    def renew(self, ids: Sequence[str]) -> list[str]:
        """Renew the lease of entries in hand; those that are no longer ours are returned."""
        ...

    def release(
        self, ids: Sequence[str], after_seconds: float = 0.0, *, crashed: bool = False
    ) -> int:
        """Give entries back, to be taken after ``after_seconds``; how many were still ours."""
        ...

    def settle(self, entry: Entry, verdict: Settle, stage: str) -> SettleResult:
        """Carry out a verdict in one atomic step, or nothing of it."""
        ...

    def forget_consumers(self, idle_seconds: float, only_self: bool = False) -> int:
        """Remove consumers that hold nothing; how many."""
        ...


class RedisStream:
    """:class:`Stream` on a real server.

    ``outbound`` is the stream that a settlement's outputs go to (``None``: it has none).
    ``now_ms`` replaces the server's clock for given-back entries in tests.
    Every method raises :class:`redis.exceptions.RedisError` when the server cannot be asked.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        inbound: str,
        consumer: str,
        *,
        outbound: str | None = None,
        lease_seconds: float = 30.0,
        dead_letters_max_entries: int = 100_000,
        now_ms: Callable[[], int] | None = None,
        token: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._keys = keys
        self.inbound = inbound
        self.consumer = consumer
        self._outbound = outbound or inbound
        self._lease_ms = int(lease_seconds * 1000)
        self._dead_max = dead_letters_max_entries
        self._now_ms = now_ms
        self._token = token

    def ensure(self) -> None:
        """See :meth:`Stream.ensure`."""
        try:
            self._redis.xgroup_create(self._keys.stream(self.inbound), GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def read(self, count: int, block_seconds: float) -> list[Entry]:
        """See :meth:`Stream.read`."""
        name = self._keys.stream(self.inbound)
        try:
            reply: Any = self._redis.xreadgroup(
                GROUP, self.consumer, {name: ">"}, count, block=max(1, int(block_seconds * 1000))
            )
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self.ensure()
            return []
        return self._with_payloads(
            [(_text(id_), 0, fields) for _, found in reply or [] for id_, fields in found]
        )

    def claim(self, count: int) -> Claimed:
        """See :meth:`Stream.claim`."""
        try:
            taken, deleted = self._scripts.call(
                "claim",
                [
                    self._keys.stream(self.inbound),
                    self._keys.crashes(self.inbound),
                    self._keys.released(self.inbound),
                ],
                [GROUP, self.consumer, SHELF, self._lease_ms, count, self._clock()],
            )
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self.ensure()
            return Claimed()
        rows = [
            (_text(id_), int(crashes), dict(zip(fields[::2], fields[1::2], strict=True)))
            for id_, crashes, fields in taken
        ]
        return Claimed(self._with_payloads(rows), [_text(id_) for id_ in deleted])

    def renew(self, ids: Sequence[str]) -> list[str]:
        """See :meth:`Stream.renew`."""
        if not ids:
            return []
        lost = self._scripts.call(
            "renew", [self._keys.stream(self.inbound)], [GROUP, self.consumer, *ids]
        )
        return [_text(id_) for id_ in lost]

    def release(
        self, ids: Sequence[str], after_seconds: float = 0.0, *, crashed: bool = False
    ) -> int:
        """See :meth:`Stream.release`."""
        if not ids:
            return 0
        return int(
            self._scripts.call(
                "release",
                [
                    self._keys.stream(self.inbound),
                    self._keys.crashes(self.inbound),
                    self._keys.released(self.inbound),
                ],
                [
                    GROUP,
                    self.consumer,
                    SHELF,
                    int(after_seconds * 1000),
                    "1" if crashed else "0",
                    self._clock(),
                    *ids,
                ],
            )
        )

    def settle(self, entry: Entry, verdict: Settle, stage: str) -> SettleResult:
        """See :meth:`Stream.settle`."""
        keys = self._keys
        payload_keys = [
            keys.payload(self._token()) for _ in range(len(verdict.outputs) + len(verdict.dead))
        ]
        args: list[bytes | str | int | float] = [
            GROUP,
            self.consumer,
            entry.id,
            entry.samples,
            entry.query,
            entry.tier,
            entry.kind,
            entry.window_id,
            verdict.loaded,
            stage,
            self._clock() or self._server_ms(verdict),
            self._dead_max,
            ENTRY_OVERHEAD_BYTES,
            len(verdict.outputs),
            len(verdict.dead),
            len(verdict.drops),
        ]
        for output in verdict.outputs:
            args += [output.payload, output.samples]
        for letter in verdict.dead:
            args += [letter.reason, letter.detail, letter.payload, letter.samples]
        for reason, samples in verdict.drops.items():
            args += [reason, samples]
        reply = self._scripts.call(
            "settle",
            [
                keys.stream(self.inbound),
                keys.in_flight(self.inbound),
                keys.crashes(self.inbound),
                keys.stream(self._outbound),
                keys.in_flight(self._outbound),
                keys.dead,
                keys.ledger,
                keys.unsettled,
                keys.committed,
                entry.payload_key,
                keys.dead_held,
                *payload_keys,
            ],
            args,
        )
        return SettleResult(_text(reply[0]))

    def forget_consumers(self, idle_seconds: float, only_self: bool = False) -> int:
        """See :meth:`Stream.forget_consumers`."""
        return int(
            self._scripts.call(
                "forget",
                [self._keys.stream(self.inbound)],
                [GROUP, int(idle_seconds * 1000), self.consumer if only_self else ""],
            )
        )

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _clock(self) -> int | str:
        return "" if self._now_ms is None else self._now_ms()

    def _server_ms(self, verdict: Settle) -> int:
        """The server's time, asked for only where a dead letter will carry it."""
        if not verdict.dead:
            return 0
        seconds, micros = self._redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def _with_payloads(self, rows: list[tuple[str, int, dict[bytes, bytes]]]) -> list[Entry]:
        """Fetch the payloads of entries in one round trip and put the entries together."""
        if not rows:
            return []
        names = [self._keys.own_payload(fields.get(b"payload", b"")) for _, _, fields in rows]
        # A name that is not ours is replaced by one that no payload has.
        payloads: Any = self._redis.mget([name or self._keys.payload("") for name in names])
        in_flight: Any = self._redis.hmget(
            self._keys.in_flight(self.inbound), [id_ for id_, _, _ in rows]
        )
        return [
            _entry(id_, crashes, fields, payload, name, held)
            for (id_, crashes, fields), payload, name, held in zip(
                rows, payloads, names, in_flight, strict=True
            )
        ]


def _entry(
    id_: str,
    crashes: int,
    fields: Mapping[bytes, bytes],
    payload: bytes | None,
    payload_key: str,
    held: bytes | None,
) -> Entry:
    """An entry from its fields; what is missing or odd is left for the handler to refuse.

    The number of samples is the ledger's; an entry that the ledger does not know claims its own.
    """
    samples = _number(held.split(b" ", 1)[0]) if held else _number(fields.get(b"samples", b""))
    return Entry(
        id=id_,
        schema=_number(fields.get(b"schema", b"")),
        query=_text(fields.get(b"query", b"")),
        tier=_text(fields.get(b"tier", b"")),
        kind=_text(fields.get(b"kind", b"")),
        window_id=_text(fields.get(b"window", b"")),
        samples=samples,
        payload=payload if payload is not None else b"",
        crashes=crashes,
        payload_key=payload_key,
        payload_missing=payload is None,
        fields=dict(fields),
    )


def _number(text: bytes) -> int:
    return int(text) if text.isdigit() and len(text) < 16 else 0


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
