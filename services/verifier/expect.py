"""What the sink should hold, given what the source holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from common.config import Query
from common.errors import WireError
from common.samples.rollup import Rollup
from common.samples.series import SeriesDrop, SeriesEncoder
from services.verifier.classic import as_classic
from services.verifier.points import Column, Points, SeriesKey, join
from services.verifier.rollup import rollup_of
from services.verifier.source import SourceSeries

# Labels of one series in, its identity in the sink out; or the reason why it has none.
Identify = Callable[[Mapping[str, str]], SeriesKey | str]


def identify_of(query: Query, encoder: SeriesEncoder) -> Identify:
    """Identities of the series that ``query`` reads: relabelled, filtered, mapped.

    Before that, they get the query's labels, in the place of their own.
    """
    added = query.labels

    @lru_cache(maxsize=100_000)
    def identity_of(label_json: str) -> SeriesKey | str:
        try:
            identity = encoder.identity(query.kind, query.name, label_json.encode())
        except WireError:
            return "unreadable_labels"
        if isinstance(identity, SeriesDrop):
            return identity.value
        return SeriesKey.of(identity.measurement, identity.tags, identity.field)

    # The same series come in every piece.
    return lambda labels: identity_of(json.dumps({**labels, **added} if added else labels))


@dataclass(slots=True)
class Expected:
    """The ``points`` of ``source`` samples, less those ``dropped`` by reason.

    ``rivals`` are points that gave way to another source series with the same identity; of a
    rollup those that would be, if the series had come in the reverse order. ``whole``: of a rollup,
    at which times a point has all samples that it can have; None: every point is a sample.
    """

    points: Points
    rivals: Points
    source: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    whole: Mapping[SeriesKey, NDArray[np.int64]] | None = None


def expect(
    series: Iterable[SourceSeries],
    identify: Identify,
    latest_ms: int | None = None,
    after_ms: int | None = None,
    *,
    classic: str = "",
) -> Expected:
    """Apply the transform's rules to samples as Prometheus has them.

    Native histograms are dropped, or become ``classic`` series of a query of that kind. A series is
    dropped whole or named by ``identify``. NaN, the infinities, times that are not positive and
    those after ``latest_ms`` are dropped sample by sample. Where several source series get one
    identity, the last in order keeps its sample at a shared timestamp.

    What is not after ``after_ms`` is not counted: something is computed from it.
    """
    points: dict[SeriesKey, Column] = {}
    rivals: dict[SeriesKey, Column] = {}
    result = Expected(points, rivals)
    pieces: dict[SeriesKey, list[Column]] = {}
    for one in as_classic(series, classic) if classic else series:
        counts = np.ones(len(one.values), np.bool_)
        if after_ms is not None:
            counts = one.timestamps_ms > after_ms
        result.source += int(np.count_nonzero(counts)) + one.histograms
        result.dropped["native_histogram"] += one.histograms
        identity = identify(one.labels)
        if isinstance(identity, str):
            result.dropped[identity] += int(np.count_nonzero(counts))
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
            result.dropped[reason] += int(np.count_nonzero(mask & keep & counts))
            keep &= ~mask
        if keep.any():
            piece = Column(one.timestamps_ms, one.values).take(keep)
            pieces.setdefault(identity, []).append(piece)
    for identity, columns in pieces.items():
        points[identity], rest = join(columns)
        if len(rest.values):
            rivals[identity] = rest
            late = slice(None) if after_ms is None else rest.timestamps_ms > after_ms
            result.dropped["collision"] += len(rest.values[late])
    result.dropped = +result.dropped
    return result


def expect_rollup(
    of_samples: Expected,
    start_ms: int,
    end_ms: int,
    rollup: Rollup,
    fields: Sequence[str],
    step_ms: int | None,
) -> Expected:
    """What becomes of samples in a tier that holds ``rollup`` of them.

    The points in ``(start_ms, end_ms]`` have the ``fields``. ``step_ms``: how far apart samples
    are, where an expression gives them.
    """
    rolled = rollup_of(of_samples.points, start_ms, end_ms, rollup, fields)
    others = {
        key: join([of_samples.points[key], rest])[0] for key, rest in of_samples.rivals.items()
    }
    rivals = rollup_of(others, start_ms, end_ms, rollup, fields)
    dropped = of_samples.dropped.copy()
    points = sum(len(column.values) for column in rolled.points.values())
    dropped["rolled_up"] = of_samples.source - dropped.total() - points
    whole = {}
    if step_ms:
        most = rollup.resolution_ms // step_ms
        for key, column in rolled.counts.items():
            whole[key] = column.timestamps_ms[column.values >= most]
    return Expected(rolled.points, rivals.points, of_samples.source, +dropped, whole)
