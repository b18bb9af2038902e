"""Rows of two numbers, as both servers write them in JSON: ``[[1700000000.5,"0.1"],…]``.

Reading them is most of what a verification costs, so they are read as one flat list of numbers. The
parser is msgspec's, which the extractor does not use for numbers: it must not share its errors.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

_NUMBERS = msgspec.json.Decoder(list[float])
# Of more, no milliseconds are exact.
_SECONDS_MAX = 2**53 / 1_000
_IN_NUMBERS = b'0123456789.+-eE"'


class _Series(msgspec.Struct, forbid_unknown_fields=True):
    metric: dict[str, str]
    values: msgspec.Raw = msgspec.Raw(b"[]")


class _Matrix(msgspec.Struct, forbid_unknown_fields=True):
    resultType: Literal["matrix"]
    result: list[_Series]


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    status: Literal["success"]
    data: _Matrix
    warnings: list[str] = []
    infos: list[str] = []
    isPartial: bool = False
    stats: Any = None


_BODY = msgspec.json.Decoder(_Body)


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


def source_body(content: bytes) -> Any:
    """A response of Prometheus, as JSON; the ``values`` of a series may be left as text.

    Raises :class:`ValueError` or :class:`RecursionError` for anything but JSON.
    """
    try:
        body = _BODY.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(content)  # no matrix, or one with more than numbers
    series = [{"metric": one.metric, "values": bytes(one.values)} for one in body.data.result]
    data = {"resultType": body.data.resultType, "result": series}
    return {
        "status": body.status,
        "data": data,
        "warnings": body.warnings,
        "infos": body.infos,
        "isPartial": body.isPartial,
    }


def source_columns(
    values: bytes | list[tuple[float, str]],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Times in ms and values of a series, from its ``values`` in :func:`source_body`.

    Raises what taking JSON apart raises where they have another shape.
    """
    rows: Any = values
    if isinstance(values, bytes):
        numbers = number_rows(values)
        if numbers is not None and (np.abs(numbers[:, 0]) < _SECONDS_MAX).all():
            return np.rint(numbers[:, 0] * 1_000).astype(np.int64), numbers[:, 1].copy()
        rows = json.loads(values)
    return (
        np.array([round(row[0] * 1_000) for row in rows], dtype=np.int64),
        np.array([float(row[1]) for row in rows], dtype=np.float64),
    )
