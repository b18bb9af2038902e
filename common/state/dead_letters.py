"""Dead letters: what could not be delivered, kept until an operator replays or purges it.

They lie in a Redis Stream (schema 1: stage, reason, detail, query, tier, kind, window, feed, entry,
samples, at_ms, payload), each payload under a key of its own. Replaying and purging are scripts
that keep the ledger balanced.
"""

from __future__ import annotations

import gzip
import re
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from redis import Redis

from common.errors import EtlError
from common.state.keys import POINTS, RAW, Keys
from common.state.scripts import Scripts
from common.state.stream import ENTRY_OVERHEAD_BYTES

_GZIP_MAGIC = b"\x1f\x8b"
_PAGE_ENTRIES = 500
_ID = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?")
# The stream that a stage reads: where its letters go when they are replayed.
_STREAM_OF = {"transformer": RAW, "loader": POINTS}


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter without its payload; ``detail`` are the words of who refused it.

    ``feed`` is the feed (query and tier) whose books hold the samples.
    """

    id: str
    stage: str
    reason: str
    detail: str
    query: str
    tier: str
    kind: str
    feed: str
    window_id: str
    entry_id: str
    samples: int
    at_ms: int
    payload_key: str


class DeadLetters:
    """Lists, shows, replays and purges.

    Every method raises :class:`redis.exceptions.RedisError` when the server cannot be asked.
    """

    def __init__(
        self, redis: Redis, keys: Keys, *, token: Callable[[], str] = lambda: uuid.uuid4().hex
    ) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._keys = keys
        self._token = token

    def __iter__(self) -> Iterator[Letter]:
        """All letters, oldest first, read in pages."""
        start = "-"
        while page := self._page(start, "+", _PAGE_ENTRIES):
            for id_, fields in page:
                yield self._letter(id_, fields)
            start = "(" + _text(page[-1][0])

    def get(self, id_: str) -> Letter:
        """The letter ``id_``; raises :class:`EtlError` when there is none."""
        found = self._page(id_, id_, 1) if _is_id(id_) else []
        if not found:
            raise EtlError(f"no dead letter has the id {id_}")
        return self._letter(*found[0])

    def payload(self, letter: Letter) -> bytes:
        """The letter's payload as kept; for lines, always inflated."""
        payload = self._redis.get(letter.payload_key)
        if not isinstance(payload, bytes):
            raise EtlError(f"dead letter {letter.id}: its payload {letter.payload_key} is gone")
        return _inflated(letter, payload)

    def replay(self, letter: Letter) -> bool:
        """Hand the letter's samples to its stage again; False when it is gone meanwhile.

        Raises :class:`EtlError` for a letter that has nothing to replay, and for one of the loader
        that does not hold a line for each of its samples: the sink would say nothing of those that
        are missing, and all would be counted as loaded.
        """
        stream = _STREAM_OF.get(letter.stage)
        if stream is None:
            raise EtlError(f"dead letter {letter.id}: no stream belongs to stage {letter.stage!r}")
        if letter.reason == "payload_missing":
            raise EtlError(f"dead letter {letter.id}: its payload was lost, there is no more to it")
        payload = self._redis.get(letter.payload_key)
        if not isinstance(payload, bytes):
            if not self._page(letter.id, letter.id, 1):
                return False
            raise EtlError(f"dead letter {letter.id}: its payload {letter.payload_key} is gone")
        if stream == POINTS:
            lines = _points_in(_inflated(letter, payload))
            if lines != letter.samples:
                raise EtlError(
                    f"dead letter {letter.id}: its payload holds {lines} points, not the "
                    f"{letter.samples} of the letter: it can only be exported and purged"
                )
            if not payload.startswith(_GZIP_MAGIC):
                payload = gzip.compress(payload, 1, mtime=0)
        keys = self._keys
        reply = self._scripts.call(
            "replay",
            [
                keys.dead,
                letter.payload_key,
                keys.stream(stream),
                keys.in_flight(stream),
                keys.ledger,
                keys.unsettled,
                keys.payload(self._token()),
                keys.dead_held,
            ],
            [letter.id, payload, ENTRY_OVERHEAD_BYTES],
        )
        return self._done(letter, reply)

    def purge(self, letter: Letter) -> bool:
        """Give the letter's samples up, counted as dropped; False when it is gone meanwhile."""
        keys = self._keys
        reply = self._scripts.call(
            "purge", [keys.dead, letter.payload_key, keys.ledger, keys.dead_held], [letter.id]
        )
        return self._done(letter, reply)

    def _page(self, start: str, end: str, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        page: Any = self._redis.xrange(self._keys.dead, start, end, count=count)
        return list(page)

    def _letter(self, id_: bytes, fields: dict[bytes, bytes]) -> Letter:
        def text(name: bytes) -> str:
            return _text(fields.get(name, b""))

        def number(name: bytes) -> int:
            value = fields.get(name, b"")
            return int(value) if value.isdigit() and len(value) < 16 else 0

        return Letter(
            id=_text(id_),
            stage=text(b"stage"),
            reason=text(b"reason"),
            detail=text(b"detail"),
            query=text(b"query"),
            tier=text(b"tier"),
            kind=text(b"kind"),
            feed=text(b"feed"),
            window_id=text(b"window"),
            entry_id=text(b"entry"),
            samples=number(b"samples"),
            at_ms=number(b"at_ms"),
            payload_key=self._keys.own_payload(fields.get(b"payload", b"")),
        )

    def _done(self, letter: Letter, reply: bytes) -> bool:
        if reply == b"wrong_type":
            raise EtlError(f"dead letter {letter.id}: a key of the pipeline holds something else")
        if reply == b"malformed":
            raise EtlError(f"dead letter {letter.id} is not one of ours: no feed or no samples")
        return reply == b"ok"


def _inflated(letter: Letter, payload: bytes) -> bytes:
    if not payload.startswith(_GZIP_MAGIC):
        return payload
    try:
        return gzip.decompress(payload)
    except (OSError, EOFError, zlib.error) as error:
        raise EtlError(f"dead letter {letter.id}: {error}") from None


def _points_in(text: bytes) -> int:
    """How many points a sink would find in ``text``: neither empty lines nor comments are."""
    return sum(bool(line) and not line.startswith(b"#") for line in text.split(b"\n"))


def _is_id(text: str) -> bool:
    """Whether Redis would take it for the id of an entry: one or two uint64."""
    parts = text.split("-")
    return bool(_ID.fullmatch(text)) and all(int(part) < 1 << 64 for part in parts)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
