"""The fast way from JSON text to columns: for responses laid out as Prometheus lays them out.

A run of whole series is cut at the texts between their parts, and the samples of all of them are
read at once: the quotes around the values become blanks, what is left is arrays of numbers, and
simdjson reads them (it rounds correctly, so values are bit for bit those of ``float``). What JSON
has no number for is read as a number that stands for it. No Python code runs once per sample.

The texts that a run is cut at cannot occur inside a JSON string: each holds a quote that a string
would have to escape. Whatever else a run may hold shows in the checks below, and then it is read
the plain way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
import numpy as np
import simdjson
from numpy.typing import NDArray

from common.samples.columns import Samples

# How each series begins, what parts its labels from its samples, and how its samples end.
SERIES_START = b'{"metric":'
VALUES_START = b',"values":[['
SAMPLES_END = b'"]]}'
BETWEEN_SAMPLES = b'"],['
BETWEEN_SERIES = SAMPLES_END + b"," + SERIES_START

# Seconds below which a float tells milliseconds apart with room to spare (the year 36,812).
EXACT_SECONDS = float(1 << 40)

_LABEL_SETS = msgspec.json.Decoder(list[msgspec.Raw])

# What Prometheus writes where there is no number, the number that stands for it meanwhile, and what
# it means. It does not matter which numbers these are: one that the text has by itself makes more
# of them than were put in.
_STAND_INS = (
    (b',"NaN"', b"4.4160981834126e-276", np.nan),
    (b',"+Inf"', b"4.4160981834127e-276", np.inf),
    (b',"-Inf"', b"4.4160981834128e-276", -np.inf),
)
# Whole numbers that may not fit into 64 bits; simdjson reads them as soon as they have a point.
_LONG_WHOLE = re.compile(rb'(?<=")-?[1-9][0-9]{18,}(?=")')

_QUOTE, _COMMA, _OPENING, _CLOSING, _MINUS, _ZERO = b'",[]-0'
_QUOTE_ABOVE_BLANK = np.uint8(_QUOTE - ord(" "))
_SPACES = (b" ", b"\n", b"\t", b"\r")

Columns = tuple[NDArray[np.int64], NDArray[np.float64]]


class NotColumns(Exception):
    """The text is not laid out as expected: it may still be good JSON."""


def last_whole_series(text: bytes, start: int, stop: int) -> int:
    """Where the last whole series of ``text[start:stop]`` ends; ``start`` if none is whole.

    ``text[start:]`` begins with a series. The result may be wrong for series that hold native
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
    counts, numbers = read_numbers(samples)
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
    # whole one holds is not checked here: the transformer refuses labels that are no texts.
    try:
        found = _LABEL_SETS.decode((b"[" + b",".join(labels) + b"]").decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotColumns from None
    if len(found) != len(labels) or {label_set[:1] for label_set in labels} != {b"{"}:
        raise NotColumns


def read_numbers(samples: Sequence[bytes]) -> Columns:
    """How many samples each series has, and an N × 2 array of seconds and values.

    ``samples`` has a text for each series, without its outer brackets and its last quote:
    ``1700000000.123,"1"],[1700000015.123,"2``. Raises :class:`NotColumns` for any other text.
    """
    text = b"[[[" + b'"]],[['.join(samples) + b'"]]]'
    if b"N" not in text and b"I" not in text:
        return _read(text, len(samples))
    standing = []
    for word, stand_in, meant in _STAND_INS:
        if times := text.count(word):
            text = text.replace(word, b',"' + stand_in + b'"')
            standing.append((float(stand_in), times, meant))
    counts, numbers = _read(text, len(samples))
    for stand_in_value, times, meant in standing:
        stands = numbers == stand_in_value
        if np.count_nonzero(stands) != times:
            raise NotColumns
        numbers[stands] = meant
    return counts, numbers


def _read(text: bytes, series: int) -> Columns:
    """Columns of ``[[[1,"2"],[3,"4"]],[[…]]]``, with ``series`` arrays of samples."""
    try:
        return _columns(text, series)
    except ValueError:
        text, replaced = _LONG_WHOLE.subn(rb"\g<0>.0", text)
        if not replaced:
            raise NotColumns from None
    try:
        return _columns(text, series)
    except ValueError:
        raise NotColumns from None


def _columns(text: bytes, series: int) -> Columns:
    """As :func:`_read`; raises ValueError where simdjson cannot read it as numbers."""
    quoted = np.frombuffer(text, np.uint8)
    is_quote = quoted == _QUOTE
    flat = _parse(memoryview(quoted - is_quote.view(np.uint8) * _QUOTE_ABOVE_BLANK))
    quotes = np.flatnonzero(is_quote)
    if len(flat) != len(quotes) or len(flat) % 2 or any(space in text for space in _SPACES):
        raise NotColumns
    counts = _counts(quoted, quotes, series)
    numbers = flat.reshape(-1, 2)
    # simdjson reads them as whole numbers, which have no sign when they are zero.
    numbers[_minus_zeros(quoted, quotes[0::2]), 1] = -0.0
    return counts, numbers


def _parse(bare: memoryview[int]) -> NDArray[np.float64]:
    """The numbers in arrays at whatever depth; raises ValueError if there is anything else."""
    try:
        document = simdjson.Parser().parse(bare)
    except RuntimeError as error:  # nested too deeply, and whatever has no exception of its own
        raise ValueError(str(error)) from None
    if not isinstance(document, simdjson.Array):
        raise ValueError("no array")
    try:
        return np.frombuffer(document.as_buffer(of_type="d"), np.float64)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _counts(text: NDArray[np.uint8], quotes: NDArray[np.intp], series: int) -> NDArray[np.int64]:
    """How many samples each series has, after a proof that every quote stood at a value.

    Without its quotes the text is known to be arrays of numbers at whatever depth, as many as it
    has quotes, and without white space; series are parted as :func:`read_numbers` parts them. Say
    that every other quote follows a comma, that of the rest all but ``series`` go on with ``],[``,
    and that there are only the opening brackets which such a text has. The quotes before the
    partings follow no comma, as ``,]`` is no JSON, and go on with ``]]``: they are those that end a
    series. What stands between two quotes, and what stands between a bracket and the comma before
    a quote, holds a number at least; so it is one number.

    Raises :class:`NotColumns` if it is not so.
    """
    before, after = quotes[0::2], quotes[1::2]
    goes_on = (
        (text[after + 1] == _CLOSING) & (text[after + 2] == _COMMA) & (text[after + 3] == _OPENING)
    )
    (last,) = np.nonzero(~goes_on)
    if (
        len(last) != series
        or not (text[before - 1] == _COMMA).all()
        or np.count_nonzero(text == _OPENING) != 1 + series + len(after)
    ):
        raise NotColumns
    return np.diff(last, prepend=-1)


def _minus_zeros(text: NDArray[np.uint8], before: NDArray[np.intp]) -> NDArray[np.intp]:
    """Which values are written ``-0``; ``before`` are the quotes that they begin with."""
    (negative,) = np.nonzero(text[before + 1] == _MINUS)
    of_value = before[negative]
    zeros: NDArray[np.bool_] = (text[of_value + 2] == _ZERO) & (text[of_value + 3] == _QUOTE)
    return negative[zeros]
