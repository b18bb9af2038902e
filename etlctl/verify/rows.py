"""Rows of two numbers, as both servers write them in JSON: ``[[1700000000.5,"0.1"],…]``.

Reading them is most of what a verification costs, so they are read as one flat list of numbers. The
parser is msgspec's, which the extractor does not use for numbers: it must not share its errors.
"""

from __future__ import annotations

import json

import msgspec
import numpy as np
from numpy.typing import NDArray

_NUMBERS = msgspec.json.Decoder(list[float])
_IN_NUMBERS = b'0123456789.+-eE"'


def number_rows(text: bytes) -> NDArray[np.float64] | None:
    """float64[N, 2]; None for anything but rows of two finite numbers, and for blanks in them.

    The second number of each row may be in quotes. All 64 bits are those of ``float``.
    """
    brackets = text.translate(None, _IN_NUMBERS)
    rows = len(brackets) // 4
    if not rows or brackets != b"[" + b",".join([b"[,]"] * rows) + b"]":
        return None
    if (quotes := text.count(b'"')) and (
        quotes != 2 * rows or text.count(b',"') != rows or text.count(b'"]') != rows
    ):
        return None
    text = text.translate(None, b'"')
    # To msgspec it is a whole number, and has no sign.
    text = text.replace(b",-0]", b",-0.0]")
    try:
        numbers = _NUMBERS.decode(b"[" + text.translate(None, b"[]") + b"]")
    except msgspec.DecodeError:
        return None
    return np.array(numbers, np.float64).reshape(rows, 2) if len(numbers) == 2 * rows else None


def source_columns(text: bytes) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Times in ms and values of the ``values`` of a series, as Prometheus writes them.

    Raises what taking JSON apart raises where they have another shape.
    """
    numbers = number_rows(text)
    if numbers is not None:
        return np.rint(numbers[:, 0] * 1_000).astype(np.int64), numbers[:, 1].copy()
    rows = json.loads(text)
    return (
        np.array([round(row[0] * 1_000) for row in rows], dtype=np.int64),
        np.array([float(row[1]) for row in rows], dtype=np.float64),
    )
