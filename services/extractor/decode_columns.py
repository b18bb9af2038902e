"""The fast way from JSON text to columns: for answers laid out as Prometheus lays them out.

A run of whole series is cut at the texts between their parts, and the samples of all of them are
read at once. No Python code runs once per sample.

The texts that a run is cut at cannot occur inside a JSON string: each holds a quote that a string
would have to escape. Whatever else a run may hold shows in the checks below, and then it is read
the plain way.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from common.samples.columns import Samples
from services.extractor.decode_numbers import NotNumbers, read_numbers

# How each series begins, what parts its labels from its samples, and how its samples end.
SERIES_START = b'{"metric":'
VALUES_START = b',"values":[['
SAMPLES_END = b'"]]}'
BETWEEN_SAMPLES = b'"],['
BETWEEN_SERIES = SAMPLES_END + b"," + SERIES_START

# Seconds below which a float tells milliseconds apart with room to spare (the year 36,812).
EXACT_SECONDS = float(1 << 40)

_LABEL_SETS = msgspec.json.Decoder(list[msgspec.Raw])


class NotColumns(Exception):
    """The text is not laid out as expected: it may still be good JSON."""


def last_whole_series(text: bytes, start: int, stop: int) -> int:
    """Where the last whole series of ``text[start:stop]`` ends; ``start`` if none is whole.

    ``text[start:]`` begins with a series. The answer may be wrong for series that hold native
    histograms, which :func:`read_columns` refuses. Raises :class:`NotColumns` for another layout.
    """
    values = text.rfind(VALUES_START, start, stop)
    if values < 0 or not text.startswith(SERIES_START, start):
        raise NotColumns
    end = text.find(SAMPLES_END, values, stop)
    if end < 0:
        end = text.rfind(BETWEEN_SERIES, start, values)
    return end + len(SAMPLES_END) if end >= 0 else start


def read_columns(text: bytes) -> Samples:
    """Decode a run of whole series, parted by commas.

    Raises :class:`NotColumns` for any text that is not exactly such a run in Prometheus' layout.
    """
    if not (text.startswith(SERIES_START) and text.endswith(SAMPLES_END)):
        raise NotColumns
    parts = text[len(SERIES_START) : -len(SAMPLES_END)].split(BETWEEN_SERIES)
    labels, _, samples = zip(*[part.partition(VALUES_START) for part in parts], strict=True)
    _check_label_sets(labels)
    try:
        counts, numbers = read_numbers(samples)
    except NotNumbers:
        raise NotColumns from None
    seconds = numbers[:, 0]
    if not np.abs(seconds).max() < EXACT_SECONDS:
        raise NotColumns
    return Samples(
        labels,
        counts,
        np.rint(seconds * 1000).astype(np.int64),
        np.ascontiguousarray(numbers[:, 1]),
    )


def _check_label_sets(labels: Sequence[bytes]) -> None:
    # A label set that swallowed something of its neighbours is no JSON value in this list. What a
    # whole one holds is not looked at here: the transformer refuses labels that are no texts.
    try:
        found = _LABEL_SETS.decode((b"[" + b",".join(labels) + b"]").decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotColumns from None
    if len(found) != len(labels) or {label_set[:1] for label_set in labels} != {b"{"}:
        raise NotColumns
