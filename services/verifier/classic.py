"""Native histograms as the classic series that they should be in the sink.

The definition is that of docs/line-protocol.md; it shares no code with the extractor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from services.verifier.source import SourceSeries

_UNSIGNED = {"-0": "0"}  # one bound, of two spellings
_Values = dict[tuple[str, str | None], float]  # by suffix of the name and bound


def as_classic(series: Iterable[SourceSeries], kind: str) -> Iterator[SourceSeries]:
    """Each series, and behind it those that its histograms become; ``kind`` is the query's.

    What an expression gives need not have a name. Those that are none of Prometheus' stay with the
    series, to be counted.
    """
    for one in series:
        if not one.raw_histograms:
            yield one
            continue
        name = one.labels.get("__name__") or kind == "expr"
        rows: dict[tuple[str, str | None], list[tuple[int, float]]] = {}
        carried = 0
        for time_ms, histogram in one.raw_histograms:
            values = _values_of(histogram) if name else None
            if values is None:
                continue
            carried += 1
            for key, value in values.items():
                rows.setdefault(key, []).append((time_ms, value))
        yield one._replace(histograms=one.histograms - carried, raw_histograms=())
        for (suffix, bound), column in rows.items():
            named = {"__classic__": suffix} if kind == "expr" else {"__name__": f"{name}{suffix}"}
            labels = {**one.labels, **named}
            if bound is not None:
                labels["le"] = bound
            times_ms, found = zip(*column, strict=True)
            yield SourceSeries(labels, np.array(times_ms, np.int64), np.array(found, np.float64))


def _values_of(histogram: Any) -> _Values | None:
    try:
        buckets = [
            (rule, low, high, _number(low), _number(high), _number(number))
            for rule, low, high, number in histogram.get("buckets", [])
        ]
        count, total = _number(histogram["count"]), _number(histogram["sum"])
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    bounds: dict[str, float] = {}
    so_far, ends_at = 0.0, float("-inf")
    for rule, low, high, lower, upper, number in buckets:
        if rule not in (0, 1, 2, 3) or not (ends_at <= lower <= upper):
            return None
        if lower > ends_at and upper > lower:
            bounds[_UNSIGNED.get(low, low)] = so_far
        so_far += number
        bounds[_UNSIGNED.get(high, high)] = so_far
        ends_at = upper
    bounds["+Inf"] = count
    of_buckets: _Values = {("_bucket", bound): number for bound, number in bounds.items()}
    return {("_count", None): count, ("_sum", None): total, **of_buckets}


def _number(text: Any) -> float:
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no text")
    return float(text)
