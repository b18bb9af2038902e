"""Which points will never come, because their dead letters were purged.

Of each feed a few hundred ranges are kept, with the number of points purged in each: enough for
``etlctl verify`` to tell a purged point from a lost one. Samples that were to be rolled up count as
the points that they were to become. The purging scripts write them; the commit
of a window takes its time out of them, for what is extracted again must arrive.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from redis import Redis

from common.errors import WireError
from common.samples.batch import SampleBatch
from common.samples.inflate import GZIP_MAGIC, inflate, lines_bytes_max
from common.samples.rollup import Rollup
from common.state.keys import Keys

# The latest time that a script's JSON spells exactly; as an end it stands for everything later.
LATEST_MS = 10**14 - 1


class Purged(NamedTuple):
    """So many points were purged in ``(start_ms, end_ms]``; in any time where it is unknown."""

    start_ms: int
    end_ms: int
    points: int


def purged(redis: Redis, keys: Keys, feed: str) -> Iterator[Purged]:
    """What was purged of a feed, oldest first; what somebody else wrote is passed over.

    Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """
    found: Any = redis.hget(keys.dead_purged, feed)
    try:
        yield from [Purged(int(s), int(e), int(n)) for s, e, n in json.loads(found or b"[]")]
    except (ValueError, TypeError, OverflowError, RecursionError):
        return


def extent_of(payload: bytes, samples: int) -> Purged:
    """What is given up with a dead letter of so many ``samples``; the shortest range that has it.

    Samples to be rolled up are at most a point of each series and bucket. Of a payload that cannot
    be read every sample may be a point of any time.
    """
    points = samples
    try:
        batch = _batch(payload, samples)
        if batch is not None and batch.origin.rollup is not None:
            times_ms = _buckets_ms(batch, batch.origin.rollup)
            points = len(times_ms)
            if not points:
                return Purged(batch.origin.start_ms, batch.origin.end_ms, 0)
        elif batch is not None:
            times_ms = batch.samples.timestamps_ms.tolist()
        else:
            times_ms = list(_times_of_lines_ms(payload, samples))
    except (WireError, ValueError):
        times_ms = []
    if not times_ms:
        return Purged(0, LATEST_MS, samples)
    return Purged(_bounded(min(times_ms) - 1), _bounded(max(times_ms)), points)


def _bounded(time_ms: int) -> int:
    return min(max(time_ms, 0), LATEST_MS)


def _batch(payload: bytes, samples: int) -> SampleBatch | None:
    """Samples as they were extracted; None where the payload is something else: lines."""
    try:
        return SampleBatch.decode(payload, samples)
    except WireError:
        return None


def _buckets_ms(batch: SampleBatch, rollup: Rollup) -> list[int]:
    """The ends of the buckets that its window has samples of, each once for each series.

    Samples that are no numbers are in none.
    """
    samples = batch.samples
    of_series = np.repeat(np.arange(len(samples.counts)), samples.counts)
    times_ms = samples.timestamps_ms.clip(0, LATEST_MS)
    ends_ms = -(-times_ms // rollup.resolution_ms) * rollup.resolution_ms
    inside = (ends_ms > batch.origin.start_ms) & (ends_ms <= batch.origin.end_ms)
    wanted = np.isfinite(samples.values) & inside
    points = np.unique(np.stack([of_series[wanted], ends_ms[wanted]]), axis=1)
    ends: list[int] = points[1].tolist()
    return ends


def _times_of_lines_ms(payload: bytes, samples: int) -> Iterator[int]:
    if payload.startswith(GZIP_MAGIC):
        payload = inflate(payload, lines_bytes_max(samples))
    for line in payload.split(b"\n"):
        if line and not line.startswith(b"#"):
            yield int(line.rpartition(b" ")[2])
