"""What the sink should hold, given what the source holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from common.config import Query
from common.errors import WireError
from common.samples.series import SeriesDrop, SeriesEncoder
from services.verifier.points import Column, Points, SeriesKey, join
from services.verifier.source import SourceSeries

# Labels of one series in, its identity in the sink out; or the reason why it has none.
Identify = Callable[[Mapping[str, str]], SeriesKey | str]


def identify_of(query: Query, encoder: SeriesEncoder) -> Identify:
    """Identities of the series that ``query`` reads: relabelled, filtered, mapped."""

    @lru_cache(maxsize=100_000)
    def identity_of(label_json: str) -> SeriesKey | str:
        try:
            identity = encoder.identity(query.kind, query.name, label_json.encode())
        except WireError:
            return "unreadable_labels"
        if isinstance(identity, SeriesDrop):
            return identity.value
        return SeriesKey.of(identity.measurement, identity.tags)

    # The same series come in every piece.
    return lambda labels: identity_of(json.dumps(labels))


@dataclass(slots=True)
class Expected:
    """The ``points`` of ``source`` samples, less those ``dropped`` by reason.

    ``rivals`` are points that gave way to another source series with the same identity.
    """

    points: Points
    rivals: Points
    source: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


def expect(
    series: Iterable[SourceSeries], identify: Identify, latest_ms: int | None = None
) -> Expected:
    """Apply the transform's rules to samples as Prometheus has them.

    Native histograms are dropped. A series is dropped whole or named by ``identify``. NaN, the
    infinities, times that are not positive and those after ``latest_ms`` are dropped sample by
    sample. Where several source series get one identity, the last in order keeps its sample at a
    shared timestamp.
    """
    points: dict[SeriesKey, Column] = {}
    rivals: dict[SeriesKey, Column] = {}
    result = Expected(points, rivals)
    pieces: dict[SeriesKey, list[Column]] = {}
    for one in series:
        result.source += len(one.values) + one.histograms
        result.dropped["native_histogram"] += one.histograms
        identity = identify(one.labels)
        if isinstance(identity, str):
            result.dropped[identity] += len(one.values)
            continue
        faults = {
            "nan": np.isnan(one.values),
            "inf": np.isinf(one.values),
            "timestamp_not_positive": one.timestamps_ms <= 0,
        }
        if latest_ms is not None:
            faults["timestamp_in_future"] = one.timestamps_ms > latest_ms
        keep = np.ones(len(one.values), dtype=np.bool_)
        for reason, mask in faults.items():
            result.dropped[reason] += int(np.count_nonzero(mask & keep))
            keep &= ~mask
        if keep.any():
            piece = Column(one.timestamps_ms, one.values).take(keep)
            pieces.setdefault(identity, []).append(piece)
    for identity, columns in pieces.items():
        points[identity], rest = join(columns)
        if len(rest.values):
            rivals[identity] = rest
            result.dropped["collision"] += len(rest.values)
    result.dropped = +result.dropped
    return result
