"""The plain way from JSON text to columns: any layout, one series at a time, by a JSON parser.

For servers that write the same JSON with other spaces or keys, and for native histograms.
"""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec
import numpy as np

from common.errors import QueryRejected, SourceUnavailable
from common.samples.columns import Samples
from common.source.errors import snippet
from services.extractor.source.classic_series import classic_series
from services.extractor.source.decode_columns import EXACT_SECONDS

# What Prometheus writes (Go's strconv.FormatFloat) and other servers may write; not "1_000" or "
# 1".
_NUMBER = re.compile(
    # Nothing possessive: Python 3.11.2 takes "1e" for a number then.
    r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?|nan)",
    re.IGNORECASE | re.ASCII,
)


class _Series(msgspec.Struct):
    metric: msgspec.Raw
    values: list[tuple[msgspec.Raw, str]] | None = None
    histograms: list[tuple[msgspec.Raw, msgspec.Raw]] | None = None
    # What an element of a vector has instead.
    value: msgspec.Raw = msgspec.Raw()
    histogram: msgspec.Raw = msgspec.Raw()


_SERIES = msgspec.json.Decoder(_Series)
_LABELS = msgspec.json.Decoder(dict[str, str])


def read_series(text: bytes, classic: str = "") -> Samples:
    """Decode one element of a matrix, a JSON object such as ``{"metric": {…}, "values": […]}``.

    Its native histograms become series of their own if ``classic`` is the kind of a query.

    Raises :class:`QueryRejected` for an element of a vector or a scalar, :class:`SourceUnavailable`
    for anything else that is no series.
    """
    try:
        series = _SERIES.decode(text)
        labels = bytes(series.metric)
        label_set = _LABELS.decode(labels)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if not text.startswith(b"{"):
            raise QueryRejected("answered with a scalar or a string, not with series") from None
        raise SourceUnavailable(f"answered with something else than a series: {error}") from None
    if bytes(series.value) or bytes(series.histogram):
        raise QueryRejected("answered with a vector (one sample a series), not with series")
    if series.values is None and series.histograms is None:
        raise SourceUnavailable(f"answered with a series that has no samples: {snippet(text)}")
    samples = series.values or ()
    histograms = series.histograms or ()
    histograms_ms = [_milliseconds(bytes(seconds)) for seconds, _ in histograms]
    floats = Samples(
        (labels,) if samples else (),
        np.array([len(samples)] if samples else [], np.int64),
        np.array([_milliseconds(bytes(seconds)) for seconds, _ in samples], np.int64),
        np.array([_value(value) for _, value in samples], np.float64),
    )
    if classic and histograms:
        texts = (bytes(histogram) for _, histogram in histograms)
        found = zip(histograms_ms, texts, strict=True)
        carried = classic_series(label_set, found, of_expr=classic == "expr")
        return Samples.join([floats, carried])
    return replace(floats, histograms_ms=np.array(histograms_ms, np.int64))


def _milliseconds(text: bytes) -> int:
    try:
        seconds = float(text)
        if abs(seconds) < EXACT_SECONDS:
            return int(np.rint(seconds * 1000))
        exact = int((Decimal(text.decode()) * 1000).quantize(Decimal(1), ROUND_HALF_EVEN))
    except (ValueError, ArithmeticError):
        exact = 1 << 64
    if not -(1 << 63) <= exact < 1 << 63:
        raise SourceUnavailable(f"answered with {snippet(text)} where a timestamp belongs")
    return exact


def _value(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise SourceUnavailable(f"answered with {snippet(text)} where a sample's value belongs")
    return float(text)
