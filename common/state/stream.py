"""A Redis Stream with one consumer group, whose hand-offs are atomic scripts.

Entries are metadata; a payload lies in a key of its own, named by its entry. What moves an entry
moves its payload, its in-flight record and the ledger in the same script, so the ledger is
exact at every instant.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from common.state.again import again
from common.state.connection.redis_client import is_awake, wake
from common.state.feeds import Range
from common.state.fields import count_of, text_of
from common.state.keys import GROUP, SETTLED_NOTED, Keys, feed_of
from common.state.scripts import Scripts
from common.state.verdict import Entry, Settle, may_have_replaced

ENTRY_SCHEMA = 1
# Of what a read was given that was ended by another thread.
_MOST_UNSEEN = 1000

# The consumer that holds, in the group, the entries that workers released.
RELEASED = "-released-"


class SettleResult(Enum):
    """What became of a settlement."""

    OK = "ok"
    REFUSED = "refused"  # not pending with us any more: another worker has it, or it is settled
    MISMATCH = "mismatch"  # the verdict does not account for every sample of the entry
    DEAD_FULL = "dead_full"  # the dead letters are at their cap
    WRONG_TYPE = "wrong_type"  # a key of ours holds something else


@dataclass(frozen=True, slots=True)
class Claimed:
    """Entries taken over, and the ids that were pending although their entry had been deleted.

    ``alone``: nothing is pending, and there is no other worker that could leave something behind.
    """

    entries: Sequence[Entry] = ()
    deleted: Sequence[str] = ()
    alone: bool = False


class RedisStream:
    """One consumer's view of a stream.

    ``outbound`` is the stream that a settlement's outputs go to (``None``: it has none).
    ``now_ms`` replaces the server's clock for released entries in tests.
    Every method raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
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
        dead_letters_sample: int = 0,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self._redis = redis
        self._scripts = Scripts(redis, now_ms)
        self._keys = keys
        self.inbound = inbound
        self.consumer = consumer
        self._stream = keys.stream(inbound)
        self._inbound_keys = keys.of_stream(inbound)
        self._outbound = outbound or inbound
        self._lease_ms = int(lease_seconds * 1000)
        self._max_dead = dead_letters_max_entries
        self._sample = dead_letters_sample
        # Where the walks of claim.lua through what is pending go on.
        self._cursors = ["-"] * 2

    def ensure(self) -> None:
        """Create stream and group where missing; entries that are there already are not skipped."""
        try:
            self._redis.xgroup_create(self._stream, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def read(self, count: int, block_seconds: float) -> list[Entry]:
        """New entries, at most ``count``; waits up to ``block_seconds`` for the first."""
        block_ms = max(1, int(block_seconds * 1000))
        try:
            reply: Any = self._redis.xreadgroup(
                GROUP, self.consumer, {self._stream: ">"}, count, block=block_ms
            )
        except ResponseError as error:
            self._ensure_after(error)
            return []
        except RedisConnectionError:
            if not is_awake(self._redis):
                raise
            self._release_unseen()
            return []
        return self._with_payloads(
            [(text_of(id_), 0, fields) for _, found in reply or [] for id_, fields in found]
        )

    def wake(self) -> None:
        """End a read that waits, and have none wait any more: this process stops."""
        wake(self._redis)

    def _release_unseen(self) -> None:
        """Release what a read was given in the moment in which it was ended."""
        with contextlib.suppress(RedisError):  # if not, its lease runs out
            pending: Any = self._redis.xpending_range(
                self._stream, GROUP, "-", "+", _MOST_UNSEEN, self.consumer
            )
            self.release([text_of(one["message_id"]) for one in pending])

    def claim(self, count: int, *, from_head: bool = False) -> Claimed:
        """Entries that were released and whose time has come, or whose worker's lease ran out.

        An entry that a worker died with is handed out alone. What was released is looked through
        from where the last claim ended; ``from_head``: from the oldest entry on.
        """
        try:
            taken, deleted, cursors, alone = self._call(
                "claim",
                [self._keys.clock(self.inbound)],
                lease_ms=self._lease_ms,
                most=count,
                cursors=self._cursors,
                from_head=from_head,
            )
        except ResponseError as error:
            self._ensure_after(error)
            return Claimed()
        self._cursors = [text_of(cursor) for cursor in cursors]
        rows = [
            (text_of(id_), int(crashes), dict(zip(fields[::2], fields[1::2], strict=True)))
            for id_, crashes, fields in taken
        ]
        return Claimed(self._with_payloads(rows), [text_of(id_) for id_ in deleted], bool(alone))

    def renew(self, ids: Sequence[str]) -> list[str]:
        """Renew the lease of entries in hand; those that are no longer ours are returned."""
        if not ids:
            return []
        return [text_of(id_) for id_ in self._call("renew", ids=ids)]

    def release(
        self, ids: Sequence[str], after_seconds: float = 0.0, *, crashed: bool = False
    ) -> int:
        """Let others take entries after ``after_seconds``; how many of them were still ours.

        ``crashed``: the worker failed them, which counts like its death.
        """
        if not ids:
            return 0
        after_ms = int(after_seconds * 1000)
        return int(self._call("release", after_ms=after_ms, crashed=crashed, ids=ids))

    def settle(self, entry: Entry, verdict: Settle, stage: str) -> SettleResult:
        """Carry out a verdict in one atomic step, or nothing of it."""
        keys = self._keys
        again_keys, again_args = self._again(entry) if verdict.again else ([], {})
        put = {keys.payload(uuid.uuid4().hex): output.payload for output in verdict.outputs}
        reply: bytes = self._scripts.call(
            "settle",
            [
                *self._inbound_keys,
                keys.stream(self._outbound),
                keys.in_flight(self._outbound),
                keys.dead,
                keys.dead_records,
                keys.ledger,
                keys.unsettled,
                keys.committed,
                keys.dead_kept,
                keys.dead_counted,
                entry.payload_key,
                *put,
                *(keys.payload(uuid.uuid4().hex) for _ in verdict.dead),
                *again_keys,
                keys.settled(self.inbound),
                *keys.of_seals(),
            ],
            [letter.payload for letter in verdict.dead],
            put,
            group=GROUP,
            consumer=self.consumer,
            entry=entry.id,
            samples=entry.samples,
            query=entry.query,
            tier=entry.tier,
            kind=entry.kind,
            window=entry.window_id,
            stage=stage,
            loaded=verdict.loaded,
            drops=dict(verdict.drops),
            outputs=[(output.samples, len(output.payload)) for output in verdict.outputs],
            dead=[(d.reason, d.detail, d.samples, d.measurement) for d in verdict.dead],
            max_dead=self._max_dead,
            sample=self._sample,
            most_noted=SETTLED_NOTED,
            digests=[output.digest.text if output.digest else "" for output in verdict.outputs],
            **_seal_of(entry, verdict),
            **again_args,
        )
        if reply == b"unstaged":  # only if the server stood still for long between two commands
            raise ResponseError("an output's payload expired before its entry was settled")
        return SettleResult(reply.decode())

    def knows_window(self, entry: Entry) -> bool:
        """Whether the window that an entry came from can be extracted again."""
        feed, _ = self._window_of(entry)
        return bool(feed) and bool(self._redis.hexists(self._keys.feed(feed), "fingerprint"))

    def _window_of(self, entry: Entry) -> tuple[str, Range]:
        """Feed and bounds of the window that an entry came from; no feed: it is not known."""
        found: Any = self._redis.hget(self._keys.committed, entry.window_id)
        feed, _, bounds = text_of(found).partition(" ")
        start_ms, _, end_ms = bounds.partition(" ")
        known = start_ms.isdecimal() and end_ms.isdecimal()
        return (feed, (int(start_ms), int(end_ms))) if known else ("", (0, 0))

    def _again(self, entry: Entry) -> tuple[list[str], dict[str, Any]]:
        """What the script needs to have the entry's window extracted again."""
        names, args = again(self._keys, *self._window_of(entry))
        return names, {"again": args}

    def compare_again(self, entry: Entry, refused: Settle) -> None:
        """Have the verifier compare the entry's window again, if that may hold what is older.

        What was pushed is of no window.
        """
        bounds = _bounds_of(entry)
        if bounds and may_have_replaced(entry, refused):
            feed = self._keys.feed(feed_of(entry.query, entry.tier))
            self._scripts.call("compare_again", [feed], **bounds)

    def forget_consumers(self, idle_seconds: float, only_self: bool = False) -> int:
        """Remove consumers that hold nothing; how many."""
        idle_ms = int(idle_seconds * 1000)
        return int(self._call("forget", idle_ms=idle_ms, only_self=only_self))

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _ensure_after(self, error: ResponseError) -> None:
        """Make the group that the server does not know; any other error is raised."""
        if "NOGROUP" not in str(error):
            raise error
        self.ensure()

    def _call(self, name: str, more_keys: Sequence[str] = (), **args: Any) -> Any:
        """A script that changes who has which entry."""
        keys = [*self._inbound_keys, *more_keys]
        return self._scripts.call(
            name, keys, group=GROUP, consumer=self.consumer, released=RELEASED, **args
        )

    def _with_payloads(self, rows: list[tuple[str, int, dict[bytes, bytes]]]) -> list[Entry]:
        """Fetch the payloads of entries in one round trip and put the entries together.

        Entries that another worker has settled meanwhile, and their payloads with them, are left
        out: what is done about a lost payload would count their samples again.
        """
        if not rows:
            return []
        names = [self._keys.own_payload(fields.get(b"payload", b"")) for _, _, fields in rows]
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.mget(names)
            pipe.hmget(self._keys.in_flight(self.inbound), [id_ for id_, _, _ in rows])
            payloads, records = pipe.execute()
        return [
            _entry(id_, crashes, fields, payload, name, record)
            for (id_, crashes, fields), payload, name, record in zip(
                rows, payloads, names, records, strict=True
            )
            if payload is not None or self._holds(id_)
        ]

    def _holds(self, id_: str) -> bool:
        """Whether an entry is pending with this worker."""
        found: Any = self._redis.xpending_range(self._stream, GROUP, id_, id_, 1, self.consumer)
        return bool(found)


def _seal_of(entry: Entry, verdict: Settle) -> dict[str, Any]:
    """What the script needs for the seal of the entry's window."""
    found: dict[str, Any] = {}
    if verdict.digest is not None:
        found["digest"] = verdict.digest.text
    if b"replayed" in entry.fields:
        found["replayed"] = True
    return found | _bounds_of(entry)


def _bounds_of(entry: Entry) -> dict[str, Any]:
    """Of its window; empty where the entry does not say them, as an older version's."""
    start_ms, end_ms = (count_of(entry.fields.get(name)) for name in (b"start_ms", b"end_ms"))
    return {"start_ms": start_ms, "end_ms": end_ms} if end_ms else {}


def _entry(
    id_: str,
    crashes: int,
    fields: Mapping[bytes, bytes],
    payload: bytes | None,
    payload_key: str,
    record: bytes | None,
) -> Entry:
    """An entry from its fields; what is missing or odd is left for the handler to refuse.

    The number of samples is the in-flight record's; an entry without a record claims its own.
    """
    return Entry(
        id=id_,
        schema=count_of(fields.get(b"schema")),
        query=text_of(fields.get(b"query")),
        tier=text_of(fields.get(b"tier")),
        kind=text_of(fields.get(b"kind")),
        window_id=text_of(fields.get(b"window")),
        samples=count_of(record.split(b" ", 1)[0] if record else fields.get(b"samples")),
        payload=payload if payload is not None else b"",
        crashes=crashes,
        payload_key=payload_key,
        payload_missing=payload is None,
        digest=text_of(fields.get(b"digest")),
        fields=dict(fields),
    )
