"""Dead letters: what could not be delivered, kept until an operator replays or purges it.

They lie in a Redis Stream (schema 1: stage, reason, detail, query, tier, kind, window, feed, entry,
samples, at_ms, measurement, payload), each payload under a key of its own. Replaying and purging
are scripts that keep the ledger balanced. Of one cause only so many are kept; see
:mod:`common.state.dead_letters.counted` for the others.
"""

from __future__ import annotations

import gzip
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from common.errors import EtlError, WireError
from common.samples.inflate import GZIP_MAGIC, inflate, lines_bytes_max
from common.state.dead_letters.counted import (
    ID_PREFIX,
    PURGED,
    CountedDeadLetters,
    counted,
    extract_again,
    give_up,
)
from common.state.dead_letters.purged import extent_of
from common.state.fields import count_of, text_of
from common.state.keys import POINTS, RAW, Keys
from common.state.scripts import Scripts

_PAGE_ENTRIES = 500
_ID = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?")
# The stream that a stage reads: where its dead letters go when they are replayed.
_STREAM_OF = {"transformer": RAW, "loader": POINTS}


@dataclass(frozen=True, slots=True)
class KeptDeadLetter:
    """One dead letter without its payload; ``detail`` is the message of who refused it.

    ``feed`` is the feed (query and tier) whose ledger counts the samples.
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
    measurement: str = ""


AnyDeadLetters = KeptDeadLetter | CountedDeadLetters


class DeadLetters:
    """Lists, shows, replays and purges.

    Every method raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._keys = keys

    def __iter__(self) -> Iterator[KeptDeadLetter]:
        """All dead letters, oldest first, read in pages."""
        start = "-"
        while page := self._page(start, "+", _PAGE_ENTRIES):
            for id_, fields in page:
                yield self._letter(id_, fields)
            start = "(" + text_of(page[-1][0])

    def counted(self) -> list[CountedDeadLetters]:
        """Those that were only counted."""
        return list(counted(self._redis, self._keys))

    def find(self, id_: str) -> AnyDeadLetters:
        """What has this id, kept or only counted; raises :class:`EtlError` when nothing has."""
        if not id_.startswith(ID_PREFIX):
            return self.get(id_)
        for letters in self.counted():
            if letters.id == id_:
                return letters
        raise EtlError(f"no dead letter has the id {id_}")

    def get(self, id_: str) -> KeptDeadLetter:
        """The dead letter ``id_``; raises :class:`EtlError` when there is none."""
        found = self._page(id_, id_, 1) if _is_id(id_) else []
        if not found:
            raise EtlError(f"no dead letter has the id {id_}")
        return self._letter(*found[0])

    def payload(self, letter: KeptDeadLetter) -> bytes:
        """The dead letter's payload as kept; for lines, always inflated."""
        payload = self._redis.get(letter.payload_key)
        if not isinstance(payload, bytes):
            raise EtlError(f"dead letter {letter.id}: its payload {letter.payload_key} was deleted")
        return _inflated(letter, payload)

    def replay(self, letter: AnyDeadLetters) -> bool:
        """Hand the samples to their stage again; False when the dead letter was deleted meanwhile.

        Those that were only counted are extracted again.
        Raises :class:`EtlError` for one that has nothing to replay, and for one of the loader
        that does not hold a line for each of its samples: the sink would not report those that
        are missing, and all would be counted as loaded.
        """
        if isinstance(letter, CountedDeadLetters):
            return extract_again(self._redis, self._keys, letter)
        stream = _STREAM_OF.get(letter.stage)
        if stream is None:
            raise EtlError(f"dead letter {letter.id}: no stream belongs to stage {letter.stage!r}")
        if letter.reason == "payload_missing":
            raise EtlError(f"dead letter {letter.id}: its payload was lost, there is no more to it")
        payload = self._redis.get(letter.payload_key)
        if not isinstance(payload, bytes):
            if not self._page(letter.id, letter.id, 1):
                return False
            raise EtlError(f"dead letter {letter.id}: its payload {letter.payload_key} was deleted")
        if stream == POINTS:
            lines = _points_in(_inflated(letter, payload))
            if lines != letter.samples:
                raise EtlError(
                    f"dead letter {letter.id}: its payload holds {lines} points, not the "
                    f"{letter.samples} that it counts: it can only be exported and purged"
                )
            if not payload.startswith(GZIP_MAGIC):
                payload = gzip.compress(payload, 1, mtime=0)
        keys = self._keys
        more_keys = [
            keys.stream(stream),
            keys.in_flight(stream),
            keys.ledger,
            keys.unsettled,
            keys.payload(uuid.uuid4().hex),
            keys.dead_kept,
            keys.seals,
        ]
        return self._decide("dead_letters/replay", letter, more_keys, [payload])

    def purge(self, letter: AnyDeadLetters) -> bool:
        """Give the samples up, counted as dropped; False when it was deleted meanwhile.

        In what time they lay is noted, for who looks for them in the sink.
        """
        if isinstance(letter, CountedDeadLetters):
            return give_up(self._redis, self._keys, letter, PURGED)
        payload: Any = self._redis.get(letter.payload_key)
        noted = extent_of(payload or b"", letter.samples)
        keys = [self._keys.ledger, self._keys.dead_kept, self._keys.dead_purged]
        return self._decide("dead_letters/purge", letter, keys, **noted._asdict())

    def _page(self, start: str, end: str, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        page: Any = self._redis.xrange(self._keys.dead, start, end, count=count)
        return list(page)

    def _letter(self, id_: bytes, fields: dict[bytes, bytes]) -> KeptDeadLetter:
        return KeptDeadLetter(
            id=text_of(id_),
            stage=text_of(fields.get(b"stage")),
            reason=text_of(fields.get(b"reason")),
            detail=text_of(fields.get(b"detail")),
            query=text_of(fields.get(b"query")),
            tier=text_of(fields.get(b"tier")),
            kind=text_of(fields.get(b"kind")),
            feed=text_of(fields.get(b"feed")),
            window_id=text_of(fields.get(b"window")),
            entry_id=text_of(fields.get(b"entry")),
            samples=count_of(fields.get(b"samples")),
            at_ms=count_of(fields.get(b"at_ms")),
            payload_key=self._keys.own_payload(fields.get(b"payload", b"")),
            measurement=text_of(fields.get(b"measurement")),
        )

    def _decide(
        self,
        script: str,
        letter: KeptDeadLetter,
        more_keys: list[str],
        payloads: Sequence[bytes] = (),
        **args: Any,
    ) -> bool:
        """Replay or purge by one script; False when the dead letter was deleted meanwhile."""
        keys = [self._keys.dead, self._keys.dead_records, letter.payload_key, *more_keys]
        reply = self._scripts.call(script, keys, payloads, id=letter.id, **args)
        if reply == b"wrong_type":
            raise EtlError(f"dead letter {letter.id}: a key of the pipeline holds something else")
        if reply == b"malformed":
            raise EtlError(f"dead letter {letter.id} is not one of ours: no feed or no samples")
        return bool(reply == b"ok")


def _inflated(letter: KeptDeadLetter, payload: bytes) -> bytes:
    if not payload.startswith(GZIP_MAGIC):
        return payload
    try:
        return inflate(payload, lines_bytes_max(letter.samples))
    except WireError as error:
        raise EtlError(f"dead letter {letter.id}: {error}") from None


def _points_in(text: bytes) -> int:
    """How many points a sink would find in ``text``: neither empty lines nor comments are."""
    return sum(bool(line) and not line.startswith(b"#") for line in text.split(b"\n"))


def _is_id(text: str) -> bool:
    """Whether Redis would take it for the id of an entry: one or two uint64."""
    parts = text.split("-")
    return bool(_ID.fullmatch(text)) and all(int(part) < 1 << 64 for part in parts)
