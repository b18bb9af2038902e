"""The rows in a response of InfluxDB's ``/query``, as JSON or MessagePack.

Format: that of the 1.x query API. In MessagePack, which 1.x and 2.x also speak, a row of a time and
a float is always 19 bytes long: a list of two (``92``), an int64 (``d3``), a float64 (``cb``). So
many rows are read as one array, with all their bits. Another float adds 9 bytes; a list of more
than 15 has its length (``dc``) in two bytes more.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from common.errors import SinkError
from common.samples.line_names import FIELD
from common.sink.query_error import query_error
from services.verifier.points import Column, Points, SeriesKey, join, known_shape
from services.verifier.rows import number_rows

# Where a document begins in MessagePack: {"results": [one result]}.
_DOCUMENT_BEGINS = b"\x81\xa7results\x91"
_SHORT_LIST, _LIST_16, _LIST_32 = 0x90, 0xDC, 0xDD
_SHORT_LIST_MOST = 15
# Float64 tells whole numbers apart up to here.
_EXACT_MAX = 2.0**53


class _Series(msgspec.Struct):
    name: str = ""  # that of SHOW RETENTION POLICIES has none in 1.x
    columns: list[str] = []
    values: msgspec.Raw = msgspec.Raw(b"")
    tags: dict[str, str] | None = None


class _Result(msgspec.Struct):
    series: list[_Series] = []
    partial: bool = False
    error: str | None = None


class Document(msgspec.Struct):
    """One document of a response; ``partial`` on a result promises another one."""

    results: list[_Result] | None = None
    error: Any = None


_JSON = msgspec.json.Decoder(Document)
_PACKED = msgspec.msgpack.Decoder(list[Document])


def json_document(line: bytes, where: str) -> Document:
    """One line of a response. Raises :class:`SinkError` for anything but such a document."""
    try:
        return _JSON.decode(line)
    except msgspec.ValidationError as error:
        kind = "document" if line.lstrip()[:1] != b"{" else "shape"
        raise SinkError(
            f"{where} sent JSON of an unknown {kind}: {line[:80]!r} ({error})"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SinkError(
            f"{where} answers a query with something that is not JSON: {line[:80]!r}"
        ) from None


def packed_documents(body: bytes) -> list[Document] | None:
    """The documents of a whole response in MessagePack; None where it cannot be divided."""
    # Nothing says how many there are, or where each ends: read as one list, they must fit.
    count = body.count(_DOCUMENT_BEGINS)
    try:
        return _PACKED.decode(bytes((_LIST_32,)) + count.to_bytes(4, "big") + body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Rows:
    """Rows as they arrive, a series possibly in several pieces.

    ``aggregates``: how many stand side by side in each point; 0 = a point is one value. ``fields``:
    those of the samples, in the order in which they arrive now.
    """

    def __init__(self, aggregates: int = 0) -> None:
        self._aggregates = aggregates
        self.fields: Sequence[str] = (FIELD,)
        self._pieces: dict[SeriesKey, list[Column]] = {}

    def add(
        self,
        documents: Sequence[Document],
        where: str,
        columns: Callable[[Sequence[bytes], int], list[Column]],
    ) -> bool:
        """Take in documents; whether the last promises another one. ``columns`` reads the rows.

        Raises :class:`SinkError` for an error that it reports, and for rows of any other shape.
        """
        series = [one for document in documents for one in series_of(document, where)]
        width = len(self.fields) * max(1, self._aggregates)
        with known_shape(where, SinkError):
            read = columns([bytes(one.values) for one in series], width)
        for one, column in zip(series, read, strict=True):
            self.take(one.name, one.tags or {}, column)
        return any(result.partial for one in documents[-1:] for result in one.results or ())

    def take(self, measurement: str, tags: Mapping[str, str], column: Column) -> None:
        """Rows with the same tags, all of their values side by side."""
        width = max(1, self._aggregates)
        for at, field in enumerate(self.fields):
            values = column.values[:, at * width : (at + 1) * width]
            one = Column(column.timestamps_ms, values)
            if len(self.fields) > 1:  # what has a row may have nothing of this field
                one = one.take(np.flatnonzero(~np.isnan(values).all(axis=1)))
            if not len(one.values):
                continue
            if not self._aggregates:
                one = Column(one.timestamps_ms, one.values[:, 0].copy())
            self._pieces.setdefault(SeriesKey.of(measurement, tags, field), []).append(one)

    def points(self) -> Points:
        """Everything that arrived, a column for each series."""
        return {key: join(pieces)[0] for key, pieces in self._pieces.items()}


def series_of(document: Document, where: str) -> list[_Series]:
    """The series of all results. Raises :class:`SinkError` for an error in the document."""
    if document.error is not None or document.results is None:
        error = document.error or document
        raise SinkError(f"{where} cannot execute the query: {error!r:.300}")
    for result in document.results:
        if result.error is not None:
            raise SinkError(f"{where} cannot execute the query: {query_error(result.error)}")
    return [series for result in document.results for series in result.series]


def json_columns(texts: Sequence[bytes], width: int) -> list[Column]:
    """Rows of a time and so many values; see :func:`values_of`."""
    return [_json_column(text, width) for text in texts]


def packed_columns(packed: Sequence[bytes], width: int) -> list[Column]:
    """The same of rows in MessagePack."""
    bodies, counts = [], []
    list_head = _list_head_of(1 + width)
    row = _row(len(list_head), width)
    for one in packed:
        head, count = _list_head(one)
        if len(one) != head + count * row.itemsize:
            break
        bodies.append(one[head:])
        counts.append(count)
    rows = np.frombuffer(b"".join(bodies), row)
    if len(bodies) < len(packed) or not (
        (rows["list"] == np.frombuffer(list_head, np.uint8)).all()
        and (rows["int"] == 0xD3).all()
        and (rows["values"]["float"] == 0xCB).all()
    ):
        return [_column(msgspec.msgpack.decode(one), width) for one in packed]
    times = rows["time"].astype(np.int64)
    values = rows["values"]["value"].astype(np.float64)
    columns, end = [], 0
    for count in counts:
        start, end = end, end + count
        columns.append(Column(times[start:end], values[start:end]))
    return columns


def _row(head_bytes: int, width: int) -> np.dtype[Any]:
    of_value = [("float", "u1"), ("value", ">f8")]
    head = [("list", "u1", (head_bytes,)), ("int", "u1"), ("time", ">i8")]
    return np.dtype([*head, ("values", of_value, (width,))])


def _list_head_of(length: int) -> bytes:
    """What says that a list is so long."""
    short = length <= _SHORT_LIST_MOST
    return bytes((_SHORT_LIST + length,)) if short else struct.pack(">BH", _LIST_16, length)


def _list_head(packed: bytes) -> tuple[int, int]:
    """How many bytes say how long a list is, and what they say."""
    if packed[:1] == bytes((_LIST_16,)):
        return 3, int.from_bytes(packed[1:3], "big")
    if packed[:1] == bytes((_LIST_32,)):
        return 5, int.from_bytes(packed[1:5], "big")
    return 1, packed[0] - _SHORT_LIST


def _json_column(text: bytes, width: int) -> Column:
    numbers = number_rows(text) if width == 1 else None
    if numbers is None or not (np.abs(numbers[:, 0]) < _EXACT_MAX).all():
        # Integers as floats too: influxd prints whole numbers without a point and -0.0 as "-0".
        return _column(json.loads(text, parse_int=float), width)
    return Column(numbers[:, 0].astype(np.int64), numbers[:, 1:])


def _column(rows: list[list[Any]], width: int) -> Column:
    times: NDArray[np.int64] = np.array([row[0] for row in rows], dtype=np.int64)
    return Column(times, values_of(rows).reshape(len(rows), width))


def values_of(rows: list[list[Any]]) -> NDArray[np.float64]:
    """What stands behind the times.

    Null is NaN: no point has that. What is no number is infinite, which no point can equal.
    """
    return np.array([[_number(value) for value in row[1:]] for row in rows], dtype=np.float64)


def _number(value: object) -> float:
    if isinstance(value, float | int) and not isinstance(value, bool):
        return float(value)
    return math.nan if value is None else math.inf
