"""The entries of a stream as they arrive, read beside the consumer group: nothing is changed.

An entry is there until it is settled, which may be sooner than it is read. What was missed is known
from how many entries the stream was ever given, which Redis counts since 7.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from common.state.fields import count_of, text_of
from common.state.keys import Keys

# Less than the time-out of the connection.
BLOCK_SECONDS = 1.0
# A payload is half a megabyte at most, in a pipeline that works as it should.
_MOST_ENTRIES = 8


@dataclass(frozen=True, slots=True)
class Tapped:
    """An entry as it was found, and what it claims of itself."""

    id: str
    query: str
    tier: str
    samples: int
    payload: bytes


class Flow:
    """What arrives after it was begun; ``missed`` counts the entries that were settled too soon.

    Every method raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """

    def __init__(self, redis: Redis, keys: Keys, stream: str) -> None:
        self._redis = redis
        self._keys = keys
        self._stream = keys.stream(stream)
        self._missed_before = self._gone = self._unseen = self._seen_before = 0
        self._seen: list[tuple[int, int]] = []
        self._after, self._added = self._state()

    @property
    def missed(self) -> int:
        """Entries that were settled, of whatever query, before they could be read."""
        return self._missed_before + self._gone + self._unseen

    def read(self, block_seconds: float = BLOCK_SECONDS) -> list[Tapped]:
        """The next entries; waits for the first."""
        last_id, added = self._state()
        if _position(last_id) < _position(self._after):
            # Another stream of that name: Redis was emptied, or restored.
            self._missed_before = self.missed
            self._gone = self._unseen = self._seen_before = 0
            self._seen = []
            self._after, self._added = "0-0", None if added is None else 0
            return []
        block_ms = max(1, int(block_seconds * 1000))
        reply: Any = self._redis.xread({self._stream: self._after}, _MOST_ENTRIES, block_ms)
        rows = [(text_of(id_), fields) for _, found in reply or [] for id_, fields in found]
        if rows:
            self._after = rows[-1][0]
        self._seen += [_position(id_) for id_, _ in rows]
        if len(rows) < _MOST_ENTRIES and added is not None and self._added is not None:
            # All was read of what had been added when Redis was asked how many that were.
            known = sum(one <= _position(last_id) for one in self._seen)
            self._seen_before += known
            del self._seen[:known]
            self._unseen = max(0, added - self._added - self._seen_before)
        return self._with_payloads(rows)

    def _state(self) -> tuple[str, int | None]:
        """The id that was given last, and how many were given; None where Redis does not count."""
        try:
            found: Any = self._redis.xinfo_stream(self._stream)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return "0-0", 0
        added = found.get("entries-added")
        return text_of(found["last-generated-id"]), None if added is None else int(added)

    def _with_payloads(self, rows: Sequence[tuple[str, Mapping[bytes, bytes]]]) -> list[Tapped]:
        if not rows:
            return []
        names = [self._keys.own_payload(fields.get(b"payload", b"")) for _, fields in rows]
        payloads: Any = self._redis.mget(names)
        self._gone += sum(one is None for one in payloads)
        return [
            Tapped(
                id_,
                text_of(fields.get(b"query")),
                text_of(fields.get(b"tier")),
                count_of(fields.get(b"samples")),
                payload,
            )
            for (id_, fields), payload in zip(rows, payloads, strict=True)
            if payload is not None
        ]


def _position(id_: str) -> tuple[int, int]:
    ms, _, number = id_.partition("-")
    return int(ms), int(number or 0)
