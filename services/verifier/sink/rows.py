"""The rows in a response of InfluxDB's ``/query``, as JSON or MessagePack.

Format: that of the 1.x query API. In MessagePack, which 1.x and 2.x also speak, a row of a time and
a float is always 19 bytes long: a list of two (``92``), an int64 (``d3``), a float64 (``cb``). So
many rows are read as one array, with all their bits. Another float adds 9 bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
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

    ``fields``: how many stand side by side in each point; 0 = a point is one value. ``field``: that
    of the samples, of what arrives now.
    """

    def __init__(self, fields: int = 0) -> None:
        self._fields = fields
        self.field = FIELD
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
        with known_shape(where, SinkError):
            read = columns([bytes(one.values) for one in series], self._fields)
        for one, column in zip(series, read, strict=True):
            key = SeriesKey.of(one.name, one.tags or {}, self.field)
            self._pieces.setdefault(key, []).append(column)
        return any(result.partial for one in documents[-1:] for result in one.results or ())

    def take(self, key: SeriesKey, column: Column) -> None:
        """One more piece of a series, its values side by side in any case."""
        one = column if self._fields else Column(column.timestamps_ms, column.values[:, 0].copy())
        self._pieces.setdefault(key, []).append(one)

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


def json_columns(texts: Sequence[bytes], fields: int = 0) -> list[Column]:
    """Rows ``[time, value]``. A value that is no number becomes NaN, which no point can equal."""
    return [_json_column(text, fields) for text in texts]


def packed_columns(packed: Sequence[bytes], fields: int = 0) -> list[Column]:
    """The same of rows in MessagePack."""
    bodies, counts = [], []
    row = _row(max(1, fields))
    for one in packed:
        head, count = _list_head(one)
        if len(one) != head + count * row.itemsize:
            break
        bodies.append(one[head:])
        counts.append(count)
    rows = np.frombuffer(b"".join(bodies), row)
    if len(bodies) < len(packed) or not (
        (rows["list"] == _SHORT_LIST + 1 + max(1, fields)).all()
        and (rows["int"] == 0xD3).all()
        and (rows["fields"]["float"] == 0xCB).all()
    ):
        return [_column(msgspec.msgpack.decode(one), fields) for one in packed]
    times = rows["time"].astype(np.int64)
    values = rows["fields"]["value"].astype(np.float64)
    values = values if fields else values[:, 0].copy()
    columns, end = [], 0
    for count in counts:
        start, end = end, end + count
        columns.append(Column(times[start:end], values[start:end]))
    return columns


def _row(fields: int) -> np.dtype[Any]:
    of_field = [("float", "u1"), ("value", ">f8")]
    head = [("list", "u1"), ("int", "u1"), ("time", ">i8")]
    return np.dtype([*head, ("fields", of_field, (fields,))])


def _list_head(packed: bytes) -> tuple[int, int]:
    """How many bytes say how long a list is, and what they say."""
    if packed[:1] == bytes((_LIST_16,)):
        return 3, int.from_bytes(packed[1:3], "big")
    if packed[:1] == bytes((_LIST_32,)):
        return 5, int.from_bytes(packed[1:5], "big")
    return 1, packed[0] - _SHORT_LIST


def _json_column(text: bytes, fields: int) -> Column:
    numbers = None if fields else number_rows(text)
    if numbers is None or not (np.abs(numbers[:, 0]) < _EXACT_MAX).all():
        # Integers as floats too: influxd prints whole numbers without a point and -0.0 as "-0".
        return _column(json.loads(text, parse_int=float), fields)
    return Column(numbers[:, 0].astype(np.int64), numbers[:, 1].copy())


def _column(rows: list[list[Any]], fields: int) -> Column:
    times: NDArray[np.int64] = np.array([row[0] for row in rows], dtype=np.int64)
    values = np.array(
        [
            [float(value) if type(value) in (float, int) else np.nan for value in row[1:]]
            for row in rows
        ],
        dtype=np.float64,
    ).reshape(len(rows), max(1, fields))
    return Column(times, values if fields else values[:, 0].copy())
