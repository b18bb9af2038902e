"""Seals of windows that wait in Redis to be written to the sink.

The scripts that settle entries sum the digests of what was loaded of each window. When the last of
its entries settles, the sum becomes a seal that is due. Of a window that was extracted again only
the later extraction is sealed. What is replayed of a settled window has a seal of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from common.state.feeds import Range
from common.state.fields import text_of
from common.state.keys import Keys, split_feed
from common.state.scripts import Scripts

# How many seals are read, written and forgotten at a time.
PAGE_SEALS = 2000
# How many sums of unsettled windows one sweep looks at.
_SWEEP_SUMS = 200

_FIELD = re.compile(r"([\w:]+(?:@\w+){1,2}) (\d{1,15})( replay)?", re.ASCII)
_COMMITTED = re.compile(r"(\S+) (\d{1,15}) (\d{1,15})", re.ASCII)
_VALUE = re.compile(r"(\d{1,15}) (\d{1,15}) ([0-9a-f]{32}|-) (\d{1,15}) ([\w.-]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class DueSeal:
    """The seal of the window ``(start_ms, end_ms]`` of one feed.

    ``points`` were loaded, and ``digest`` (32 hexadecimal digits) is that of them; ``None``: it is
    not known. ``sealed_ms`` is when the window was committed by Redis' clock, or, of what was
    ``replayed`` of it after it had been settled, when that was loaded. ``window`` is its id.
    ``stored`` is the field of the hash and its value.
    """

    query: str
    tier: str
    start_ms: int
    end_ms: int
    points: int
    digest: str | None
    sealed_ms: int
    window: str
    replayed: bool
    stored: tuple[bytes, bytes]


class Seals:
    """The seals that are due. Raises :class:`redis.exceptions.RedisError` as Redis does."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = Scripts(redis)
        self._cursor = 0

    def lead(self, holder: str, lease_seconds: float) -> bool:
        """Whether ``holder`` is the one that writes them: nobody else is, for ``lease_seconds``.

        One alone, because a seal that was read before another took its place must not be written
        after that.
        """
        lease_ms = int(lease_seconds * 1000)
        key = self._keys.seals_writer
        return bool(self._scripts.call("lead", [key], holder=holder, lease_ms=lease_ms))

    def pages(self) -> Iterator[list[DueSeal]]:
        """All that are due, some thousand at a time; what is no seal of ours is removed."""
        cursor = 0
        while True:
            found: Any = self._redis.hscan(self._keys.seals_due, cursor, count=PAGE_SEALS)
            cursor, fields = found
            seals = {stored: _seal(*stored) for stored in fields.items()}
            self._remove(self._keys.seals_due, [one for one, seal in seals.items() if seal is None])
            if page := [seal for seal in seals.values() if seal is not None]:
                yield page
            if not cursor:
                return

    def forget(self, written: Sequence[DueSeal]) -> int:
        """Remove what was written, unless it has changed since; how many."""
        return self._remove(self._keys.seals_due, [seal.stored for seal in written])

    def sweep(self) -> int:
        """Remove sums of windows whose last entry an older version settled, some at a time."""
        found: Any = self._redis.hscan(self._keys.seals, self._cursor, count=_SWEEP_SUMS)
        self._cursor, sums = found
        if not sums:
            return 0
        windows = [value.partition(b" ")[0] for value in sums.values()]
        unsettled: Any = self._redis.hmget(self._keys.unsettled, windows)
        stale = [one for one, left in zip(sums.items(), unsettled, strict=True) if left is None]
        return self._remove(self._keys.seals, stale)

    def _remove(self, key: str, fields: Sequence[tuple[bytes, bytes]]) -> int:
        if not fields:
            return 0
        flat = [part for one in fields for part in one]
        return int(self._scripts.call("remove_unchanged", [key], flat))


def windows_without_seal(redis: Redis, keys: Keys, feed: str) -> list[Range]:
    """Windows of a feed that were committed, and whose seals the sink does not have yet.

    Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """
    # First: what is settled meanwhile is due then, and seen twice, not never.
    committed: dict[bytes, bytes] = dict(redis.hscan_iter(keys.committed, count=PAGE_SEALS))
    named = filter(None, map(_COMMITTED.fullmatch, map(text_of, committed.values())))
    unsettled = {(int(one[2]), int(one[3])) for one in named if one[1] == feed}
    stored = redis.hscan_iter(keys.seals_due, match=f"{feed} *", count=PAGE_SEALS)
    due = filter(None, (_seal(*one) for one in stored))
    return sorted(unsettled | {(seal.start_ms, seal.end_ms) for seal in due})


def _seal(field: bytes, value: bytes) -> DueSeal | None:
    named, held = _FIELD.fullmatch(text_of(field)), _VALUE.fullmatch(text_of(value))
    if named is None or held is None:
        return None
    query, tier = split_feed(named[1])
    start_ms, points, digest, sealed_ms, window = held.groups()
    return DueSeal(
        query,
        tier,
        int(start_ms),
        int(named[2]),
        int(points),
        None if digest == "-" else digest,
        int(sealed_ms),
        window,
        named[3] is not None,
        (field, value),
    )
