"""Payloads of dead letters, fetched in pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from redis import Redis

from common.state.dead_letters.kept import KeptDeadLetter
from common.state.keys import Keys

# A payload is half a megabyte at most, in a pipeline that works as it should.
_PAGE_ENTRIES = 50


def with_payloads(
    redis: Redis, keys: Keys, letters: Iterable[KeptDeadLetter]
) -> Iterator[tuple[KeptDeadLetter, bytes | None]]:
    """Each dead letter and its payload as it is kept; None where there is none (any more).

    Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """
    remaining = iter(letters)
    prefix = keys.payload("")
    while page := list(islice(remaining, _PAGE_ENTRIES)):
        # A foreign dead letter could name any key; only payloads are read.
        names = [letter.payload_key for letter in page]
        found: Any = redis.mget([name if name.startswith(prefix) else prefix for name in names])
        yield from zip(page, found, strict=True)
