"""Which points will never come, because their dead letters were purged.

Of each feed a few hundred ranges are kept, with the number of samples purged in each: enough for
``etlctl verify`` to tell a purged point from a lost one. The purging scripts write them; the commit
of a window takes its time out of them, for what is extracted again must arrive.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from redis import Redis

from common.errors import WireError
from common.samples.batch import SampleBatch
from common.samples.inflate import GZIP_MAGIC, inflate, lines_bytes_max
from common.state.keys import Keys

# The latest time that a script's JSON spells exactly; as an end it stands for everything later.
LATEST_MS = 10**14 - 1


class Purged(NamedTuple):
    """So many samples were purged in ``(start_ms, end_ms]``; in any time where it is unknown."""

    start_ms: int
    end_ms: int
    samples: int


def purged(redis: Redis, keys: Keys, feed: str) -> Iterator[Purged]:
    """What was purged of a feed, oldest first; what somebody else wrote is passed over.

    Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """
    found: Any = redis.hget(keys.dead_purged, feed)
    try:
        yield from [Purged(int(s), int(e), int(n)) for s, e, n in json.loads(found or b"[]")]
    except (ValueError, TypeError, OverflowError, RecursionError):
        return


def range_of(payload: bytes, samples: int) -> tuple[int, int]:
    """The shortest ``(start_ms, end_ms]`` with all of a dead letter's ``samples``.

    All of time where its payload cannot be read.
    """
    try:
        times_ms = list(_times_ms(payload, samples))
    except (WireError, ValueError):
        times_ms = []
    if not times_ms:
        return 0, LATEST_MS
    return _bounded(min(times_ms) - 1), _bounded(max(times_ms))


def _bounded(time_ms: int) -> int:
    return min(max(time_ms, 0), LATEST_MS)


def _times_ms(payload: bytes, samples: int) -> Iterator[int]:
    try:
        yield from SampleBatch.decode(payload, samples).samples.timestamps_ms.tolist()
        return
    except WireError:
        pass  # not samples: lines
    if payload.startswith(GZIP_MAGIC):
        payload = inflate(payload, lines_bytes_max(samples))
    for line in payload.split(b"\n"):
        if line and not line.startswith(b"#"):
            yield int(line.rpartition(b" ")[2])
