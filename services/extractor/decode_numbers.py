"""Samples of many series, from JSON text to columns of numbers; no Python code runs for a sample.

The quotes around the values become blanks, what is left is arrays of numbers, and simdjson reads
them in one go (it rounds correctly, so values are bit for bit those of ``float``). What JSON has no
number for is read as a number that stands for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import simdjson
from numpy.typing import NDArray

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


class NotNumbers(Exception):
    """The text is not laid out as Prometheus lays samples out: it may still be good JSON."""


def read_numbers(samples: Sequence[bytes]) -> Columns:
    """How many samples each series has, and an N × 2 array of seconds and values.

    ``samples`` has a text for each series, without its outer brackets and its last quote:
    ``1700000000.123,"1"],[1700000015.123,"2``. Raises :class:`NotNumbers` for any other text.
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
            raise NotNumbers
        numbers[stands] = meant
    return counts, numbers


def _read(text: bytes, series: int) -> Columns:
    """Columns of ``[[[1,"2"],[3,"4"]],[[…]]]``, with ``series`` arrays of samples."""
    try:
        return _columns(text, series)
    except ValueError:
        text, replaced = _LONG_WHOLE.subn(rb"\g<0>.0", text)
        if not replaced:
            raise NotNumbers from None
    try:
        return _columns(text, series)
    except ValueError:
        raise NotNumbers from None


def _columns(text: bytes, series: int) -> Columns:
    """As :func:`_read`; raises ValueError where simdjson cannot read it as numbers."""
    quoted = np.frombuffer(text, np.uint8)
    is_quote = quoted == _QUOTE
    flat = _parse(memoryview(quoted - is_quote.view(np.uint8) * _QUOTE_ABOVE_BLANK))
    quotes = np.flatnonzero(is_quote)
    if len(flat) != len(quotes) or len(flat) % 2 or any(space in text for space in _SPACES):
        raise NotNumbers
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

    Raises :class:`NotNumbers` if it is not so.
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
        raise NotNumbers
    return np.diff(last, prepend=-1)


def _minus_zeros(text: NDArray[np.uint8], before: NDArray[np.intp]) -> NDArray[np.intp]:
    """Which values are written ``-0``; ``before`` are the quotes that they begin with."""
    (negative,) = np.nonzero(text[before + 1] == _MINUS)
    of_value = before[negative]
    zeros: NDArray[np.bool_] = (text[of_value + 2] == _ZERO) & (text[of_value + 3] == _QUOTE)
    return negative[zeros]
