"""What InfluxDB must not or cannot get is taken out of a batch and counted, by vectorised masks.

Every dropped sample is counted under one reason: that of its series, else the first that applies in
the order of :class:`SampleDrop`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import cast

import numpy as np
from numpy.typing import NDArray

from common.samples.columns import Samples
from common.samples.series import SeriesDrop

# MaxNanoTime in InfluxDB's models/time.go, in whole milliseconds: the year 2262.
LATEST_MS = 9_223_372_036_854

Drops = dict[str, int]


class SampleDrop(StrEnum):
    """Why a sample is not written although its series is."""

    NAN = "nan"
    INF = "inf"
    TIMESTAMP_NOT_POSITIVE = "timestamp_not_positive"
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"
    DUPLICATE = "duplicate"
    COLLISION = "collision"


def clean(
    samples: Samples, keys: Sequence[bytes | SeriesDrop], now_ms: int, max_future_ms: int
) -> tuple[Samples, Drops]:
    """What is left, with its keys, and how many samples were dropped for which reason.

    ``keys`` holds for each series its key, or why it has none. Every series that is left has
    samples. Of several samples with one key and one timestamp the last wins; the others are
    duplicates when they come from the same label set, and collisions when relabelling or mapping
    made two series one.
    """
    drops: Drops = {}
    wanted = _of_series_with_key(samples, keys, drops)
    _refuse_samples(samples, now_ms + max_future_ms, wanted, drops)
    if SeriesDrop in set(map(type, keys)):
        keys = [b"" if isinstance(key, SeriesDrop) else key for key in keys]
    kept = replace(samples, keys=tuple(cast(Sequence[bytes], keys)))
    if drops or not samples.counts.all():
        kept = kept.where(wanted)
    overwritten = _overwritten(kept, drops)
    return (kept if overwritten is None else kept.where(~overwritten)), drops


def _of_series_with_key(
    samples: Samples, keys: Sequence[bytes | SeriesDrop], drops: Drops
) -> NDArray[np.bool_]:
    if SeriesDrop not in set(map(type, keys)):
        return np.ones(len(samples), np.bool_)
    has_key = np.fromiter((isinstance(key, bytes) for key in keys), np.bool_, len(keys))
    for index in np.flatnonzero(~has_key).tolist():
        _count(drops, str(keys[index]), int(samples.counts[index]))
    return np.repeat(has_key, samples.counts)


def _refuse_samples(
    samples: Samples, latest_ms: int, wanted: NDArray[np.bool_], drops: Drops
) -> None:
    """Take samples out of ``wanted`` that InfluxDB cannot hold, whichever their series."""
    timestamps_ms, values = samples.timestamps_ms, samples.values
    latest_ms = min(latest_ms, LATEST_MS)
    if (
        np.isfinite(values).all()
        and timestamps_ms.min(initial=1) > 0
        and timestamps_ms.max(initial=1) <= latest_ms
    ):
        return  # nearly always
    for reason, refused in (
        (SampleDrop.NAN, np.isnan(values)),
        (SampleDrop.INF, np.isinf(values)),
        (SampleDrop.TIMESTAMP_NOT_POSITIVE, timestamps_ms <= 0),
        (SampleDrop.TIMESTAMP_IN_FUTURE, timestamps_ms > latest_ms),
    ):
        refused &= wanted
        wanted ^= refused
        _count(drops, reason, int(np.count_nonzero(refused)))


def _overwritten(kept: Samples, drops: Drops) -> NDArray[np.bool_] | None:
    """The samples that a later one with the same key and time overwrites, or None."""
    rising = kept.timestamps_ms[1:] > kept.timestamps_ms[:-1]
    rising[kept.starts[1:] - 1] = True
    if rising.all() and len(set(kept.keys)) == len(kept.keys):
        return None  # nearly always: Prometheus' samples rise, and its series differ
    key = np.repeat(_numbered(kept.keys), kept.counts)
    # A stable sort: samples with one key and one timestamp keep the order of the samples.
    order = np.lexsort((kept.timestamps_ms, key))
    sorted_key, sorted_ms = key[order], kept.timestamps_ms[order]
    same_as_next = (sorted_key[1:] == sorted_key[:-1]) & (sorted_ms[1:] == sorted_ms[:-1])
    losing = np.flatnonzero(same_as_next)
    if not len(losing):
        return None
    last_of_run = np.flatnonzero(np.append(~same_as_next, True))
    winners = order[last_of_run[np.searchsorted(last_of_run, losing)]]
    losers = order[losing]
    label_set = np.repeat(_numbered(kept.series), kept.counts)
    collisions = int(np.count_nonzero(label_set[losers] != label_set[winners]))
    _count(drops, SampleDrop.COLLISION, collisions)
    _count(drops, SampleDrop.DUPLICATE, len(losers) - collisions)
    overwritten = np.zeros(len(kept), np.bool_)
    overwritten[losers] = True
    return overwritten


def _numbered(texts: Sequence[bytes]) -> NDArray[np.int64]:
    """A number for each text, the same for equal ones."""
    numbers: dict[bytes, int] = {}
    return np.fromiter(
        (numbers.setdefault(text, len(numbers)) for text in texts), np.int64, len(texts)
    )


def _count(drops: Drops, reason: str, samples: int) -> None:
    if samples:
        drops[str(reason)] = drops.get(str(reason), 0) + samples
