"""Native histograms as the series of a classic one: NAME_count, NAME_sum and NAME_bucket.

What a query shows of a histogram is its count, its sum, and each bucket that is not empty:
``[rule, "lower", "upper", "count"]``. Buckets of classic histograms are cumulative, and each is
known by its upper bound alone. So where a bucket does not begin where the one before it ends, its
lower bound becomes a bucket as well: from what is written the histogram can be made again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from common.promql.selector import BUCKET_LABEL, NAME_LABEL
from common.samples.columns import Samples

# Which of its bounds a bucket includes: the upper, the lower, neither, both.
_RULES = range(4)
_Point = tuple[str, str]  # the suffix of the name, and the bound of a bucket


class _Histogram(msgspec.Struct):
    count: str
    sum: str
    buckets: list[tuple[int, str, str, str]] = []


_HISTOGRAM = msgspec.json.Decoder(_Histogram)


def classic_series(labels: Mapping[str, str], histograms: Iterable[tuple[int, bytes]]) -> Samples:
    """The series that histograms of one series become; each is given with its time in ms, as JSON.

    One that is not as Prometheus writes them is counted, and not carried.
    """
    name = labels.get(NAME_LABEL)
    columns: dict[_Point, tuple[list[int], list[float]]] = {}
    not_carried: list[int] = []
    surplus: list[int] = []
    for time_ms, text in histograms:
        points = _points(text) if name else None
        if points is None:
            not_carried.append(time_ms)
            continue
        for point, value in points.items():
            times, values = columns.setdefault(point, ([], []))
            times.append(time_ms)
            values.append(value)
        surplus += [time_ms] * (len(points) - 1)
    return Samples(
        tuple(_labelled(labels, *point) for point in columns),
        np.array([len(times) for times, _ in columns.values()], np.int64),
        np.array([time_ms for times, _ in columns.values() for time_ms in times], np.int64),
        np.array([value for _, values in columns.values() for value in values], np.float64),
        histograms_ms=np.array(not_carried, np.int64),
        surplus_ms=np.array(surplus, np.int64),
    )


def _labelled(labels: Mapping[str, str], suffix: str, bound: str) -> bytes:
    own = {label: value for label, value in labels.items() if label != NAME_LABEL}
    if bound:
        own[BUCKET_LABEL] = bound
    # The name last, and a space: as no source spells labels. A series that is scraped as well would
    # else be of the same bytes, and pass for this one that goes on instead of colliding with it.
    own[NAME_LABEL] = labels[NAME_LABEL] + suffix
    return msgspec.json.encode(own)[:-1] + b" }"


def _points(text: bytes) -> dict[_Point, float] | None:
    """The values of one histogram; None for what is none, or has buckets that overlap."""
    try:
        found = _HISTOGRAM.decode(text)
        count, cumulative, end = float(found.count), 0.0, -math.inf
        points = {("_count", ""): count, ("_sum", ""): float(found.sum)}
        for rule, lower, upper, in_bucket in found.buckets:
            begin, after = float(lower), end
            end = float(upper)
            if rule not in _RULES or not after <= begin <= end:
                return None
            if after < begin < end:
                points["_bucket", _bound(lower)] = cumulative
            cumulative += float(in_bucket)
            points["_bucket", _bound(upper)] = cumulative
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    # What is not a number is in the count, and in no bucket.
    points["_bucket", "+Inf"] = count
    return points


def _bound(text: str) -> str:
    # An empty range of zeros ends at "-0" and begins at "0".
    return "0" if text == "-0" else text
