"""Native histograms as the series of a classic one: NAME_count, NAME_sum and NAME_bucket.

What a query shows of a histogram is its count, its sum, and each bucket that is not empty:
``[rule, "lower", "upper", "count"]``. What is pushed has to be made the same first. Buckets of
classic histograms are cumulative, and each is known by its upper bound alone. So where a bucket
does not begin where the one before it ends, its lower bound becomes a bucket as well: from what is
written the histogram can be made again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from common.promql.selector import BUCKET_LABEL, CLASSIC_LABEL, NAME_LABEL
from common.samples.columns import Samples

# Which of its bounds a bucket includes: the upper, the lower, neither, both.
_RULES = range(4)
_Point = tuple[str, str]  # the suffix of the name, and the bound of a bucket


@dataclass(frozen=True, slots=True)
class Histogram:
    """One as a query shows it: of each bucket the bounds, as text, and what is in it."""

    count: float
    sum: float
    buckets: Sequence[tuple[str, str, float]]


class _Json(msgspec.Struct):
    count: str
    sum: str
    buckets: list[tuple[int, str, str, str]] = []


_JSON = msgspec.json.Decoder(_Json)


def classic_series(
    labels: Mapping[str, str], histograms: Iterable[tuple[int, bytes]], *, of_expr: bool = False
) -> Samples:
    """As :func:`series_of`, of histograms as JSON."""
    found = ((time_ms, _of_json(text)) for time_ms, text in histograms)
    return series_of(labels, found, of_expr=of_expr)


def series_of(
    labels: Mapping[str, str],
    histograms: Iterable[tuple[int, Histogram | None]],
    *,
    of_expr: bool = False,
) -> Samples:
    """The series that histograms of one series become; each is given with its time in ms.

    What an expression gives need not have a name: the transformer gives it the query's. One that is
    not as Prometheus has them (None, or of buckets that overlap) is counted, and not carried.
    """
    is_named = of_expr or bool(labels.get(NAME_LABEL))
    columns: dict[_Point, tuple[list[int], list[float]]] = {}
    not_carried: list[int] = []
    surplus: list[int] = []
    for time_ms, histogram in histograms:
        points = _points(histogram) if is_named and histogram else None
        if points is None:
            not_carried.append(time_ms)
            continue
        for point, value in points.items():
            times, values = columns.setdefault(point, ([], []))
            times.append(time_ms)
            values.append(value)
        surplus += [time_ms] * (len(points) - 1)
    return Samples(
        tuple(_labelled(labels, *point, of_expr=of_expr) for point in columns),
        np.array([len(times) for times, _ in columns.values()], np.int64),
        np.array([time_ms for times, _ in columns.values() for time_ms in times], np.int64),
        np.array([value for _, values in columns.values() for value in values], np.float64),
        histograms_ms=np.array(not_carried, np.int64),
        surplus_ms=np.array(surplus, np.int64),
    )


def _labelled(labels: Mapping[str, str], suffix: str, bound: str, *, of_expr: bool) -> bytes:
    bucket = {BUCKET_LABEL: bound} if bound else {}
    if of_expr:
        return msgspec.json.encode({**labels, CLASSIC_LABEL: suffix, **bucket})
    own = {label: value for label, value in labels.items() if label != NAME_LABEL} | bucket
    # The name last, and a space: as no source spells labels. A series that is scraped as well would
    # else be of the same bytes, and pass for this one that goes on instead of colliding with it.
    own[NAME_LABEL] = labels[NAME_LABEL] + suffix
    return msgspec.json.encode(own)[:-1] + b" }"


def _of_json(text: bytes) -> Histogram | None:
    try:
        found = _JSON.decode(text)
        if any(rule not in _RULES for rule, *_ in found.buckets):
            return None
        buckets = [(lower, upper, float(number)) for _, lower, upper, number in found.buckets]
        return Histogram(float(found.count), float(found.sum), buckets)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def number_of_points(histogram: Histogram) -> int:
    """How many :func:`series_of` makes of one, without making them; 0: it does not carry it."""
    try:
        return 2 + len({bound for bound, _ in _cumulative(histogram)})  # _count and _sum
    except ValueError:
        return 0


def _points(histogram: Histogram) -> dict[_Point, float] | None:
    """The values of one histogram; None for one of buckets that overlap, or have no bounds."""
    points = {("_count", ""): histogram.count, ("_sum", ""): histogram.sum}
    try:
        for bound, number in _cumulative(histogram):
            points["_bucket", bound] = number
    except ValueError:
        return None
    return points


def _cumulative(histogram: Histogram) -> Iterator[tuple[str, float]]:
    """Each bound with what is up to it; of several with one bound the last counts.

    Raises ``ValueError`` for buckets that overlap, or have no bounds.
    """
    so_far, end = 0.0, -math.inf
    for lower, upper, in_bucket in histogram.buckets:
        begin, after = float(lower), end
        end = float(upper)
        if not after <= begin <= end:
            raise ValueError("the buckets overlap")
        if after < begin < end:
            yield _bound(lower), so_far
        so_far += in_bucket
        yield _bound(upper), so_far
    # What is not a number is in the count, and in no bucket.
    yield "+Inf", histogram.count


def _bound(text: str) -> str:
    # An empty range of zeros ends at "-0" and begins at "0".
    return "0" if text == "-0" else text
