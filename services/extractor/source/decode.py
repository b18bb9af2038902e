"""A query's response, decoded while it arrives.

The document is ``{"status": "success", "data": {"resultType": "matrix", "result": [series, …]}}``
(https://prometheus.io/docs/prometheus/latest/querying/api/), its keys in any order and with others
beside them. Whatever is wrong with a response, its generator raises before it ends: blocks are
worth something only once all of them were taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from common.errors import QueryRejected, SourceUnavailable
from common.samples.columns import Samples
from common.source.errors import remarks_of, reported_error, snippet
from services.extractor.source.body_text import BodyText
from services.extractor.source.decode_columns import (
    BETWEEN_SAMPLES,
    SAMPLES_END,
    VALUES_START,
    NotColumns,
    last_whole_series,
    read_columns,
)
from services.extractor.source.decode_plain import read_series

# Enough to spread what a call costs, little enough to stay in the cache.
BLOCK_BYTES = 256 << 10
# A series of which more than this has arrived is handed on in parts.
LONG_SERIES_BYTES = 2 << 20

Notice = Callable[[str], None]


def decode(
    chunks: Iterable[bytes],
    notice: Notice = lambda text: None,
    block_bytes: int = BLOCK_BYTES,
    long_series_bytes: int = LONG_SERIES_BYTES,
    *,
    classic: str = "",
) -> Iterator[Samples]:
    """Blocks of the series in a response that arrives in ``chunks``; memory is a few blocks.

    ``notice`` receives what the query engine remarks about the expression. ``classic``: the kind
    of a query whose native histograms become series of a classic one, instead of being counted
    alone. Ends normally only
    after the whole document was read and is a complete, successful matrix.

    Raises :class:`SourceUnavailable` for what is truncated, no JSON, or carries ``warnings`` (it is
    incomplete), :class:`QueryRejected` for results that are no series, and what
    :func:`~common.source.errors.reported_error` makes of a reported error.
    """
    body = BodyText(chunks)
    envelope = _Envelope()
    for key in body.members():
        if key == "data" and body.peek() == b"{":
            for data_key in body.members():
                if data_key == "result" and body.peek() == b"[":
                    envelope.check_type()
                    envelope.has_result = True
                    yield from _series(body, block_bytes, long_series_bytes, classic)
                else:
                    envelope.data[data_key] = body.value()
        else:
            envelope.top[key] = body.value()
    body.finish()
    envelope.check(notice)


def decode_value(chunks: Iterable[bytes], notice: Notice = lambda text: None) -> float | None:
    """The value of a scalar, or of a vector of at most one series; None if that is empty.

    Raises :class:`QueryRejected` for results of another kind, and whatever
    :func:`decode` raises for responses that are no success.
    """
    body = BodyText(chunks)
    if body.peek() != b"{":
        body.fail_malformed()
    document = body.value()
    body.finish()
    data = document.get("data", {})
    if not isinstance(data, dict):
        raise SourceUnavailable(
            f"answered with JSON that is no query result: {snippet(repr(document))}"
        )
    envelope = _Envelope(document, data)
    envelope.check_success()
    envelope.check_complete(notice)
    kind: str = data["resultType"]
    result: Any = data.get("result")
    if kind not in ("scalar", "vector"):
        raise QueryRejected(f"answered with a {kind}, not with one value")
    if kind == "vector" and not result:
        return None
    try:
        if kind == "vector":
            (series,) = result
            result = series["value"]
        _, value = result
        return float(value)
    except (TypeError, ValueError, KeyError):
        raise QueryRejected(
            f"answered with a {kind} that is not one value: {snippet(repr(result))}"
        ) from None


@dataclass(slots=True)
class _Envelope:
    """What a response says around the samples: its members and those of its ``data``."""

    top: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    has_result: bool = False

    def check_type(self) -> None:
        """Raise :class:`QueryRejected` if the result is known to be something else than series."""
        kind = self.data.get("resultType", "matrix")
        if kind != "matrix":
            raise QueryRejected(f"answered with a {kind}, not with series (a matrix)")

    def check(self, notice: Notice) -> None:
        """Raise unless the document, read to its end, is a complete and successful matrix."""
        self.check_success()
        self.check_type()
        if not self.has_result and self.data.get("result", ()) is not None:
            raise SourceUnavailable("answered with a matrix that has no list of series")
        self.check_complete(notice)

    def check_success(self) -> None:
        """Raise what the server reports, or :class:`SourceUnavailable` if it reports nothing."""
        status = self.top.get("status")
        if status == "error":
            raise reported_error(str(self.top.get("errorType", "")), str(self.top.get("error", "")))
        if status != "success" or "resultType" not in self.data:
            raise SourceUnavailable(
                f"answered with JSON that is no query result: {snippet(repr(self.top | self.data))}"
            )

    def check_complete(self, notice: Notice) -> None:
        """Raise what :func:`remarks_of` raises if some of the data is said to be missing."""
        for remark in remarks_of({**self.top, "data": self.data}):
            notice(f"{remark:.400}")


def _series(
    body: BodyText, block_bytes: int, long_series_bytes: int, classic: str
) -> Iterator[Samples]:
    """Pass the array of series, yielding blocks of them."""
    body.take(b"[")
    if body.peek() == b"]":
        body.take(b"]")
        return
    columns_from = 0
    while True:
        body.peek()
        try:
            if body.offset >= columns_from:
                columns_from = body.offset + block_bytes
                yield from _columns(body, block_bytes, long_series_bytes)
                columns_from = 0
            else:
                yield read_series(body.value_bytes(), classic)
        except NotColumns:
            # Read series by series for a while, then columns are tried again.
            yield read_series(body.value_bytes(), classic)
        if body.take(b",]") == b"]":
            return


def _columns(body: BodyText, block_bytes: int, long_series_bytes: int) -> Iterator[Samples]:
    """Pass the whole series within the next ``block_bytes``, or the next one if it is longer.

    One that does not seem to end comes in parts. Each part is cut out of the text, so that what is
    left is the same series, begun later. Raises :class:`NotColumns` where the plain way must go on.
    """
    wanted_bytes = block_bytes
    while True:
        more = body.fill(wanted_bytes)
        stop = body.position + wanted_bytes
        end = last_whole_series(body.buffer, body.position, stop)
        if end > body.position:
            block = read_columns(body.buffer[body.position : end])
            body.position = end
            yield block
            return
        if not more:
            raise NotColumns
        if wanted_bytes < long_series_bytes:
            wanted_bytes *= 2
            continue
        samples = body.buffer.find(VALUES_START, body.position) + len(VALUES_START)
        cut = body.buffer.rfind(BETWEEN_SAMPLES, samples, stop)
        if cut < 0:
            raise NotColumns
        part = read_columns(body.buffer[body.position : cut] + SAMPLES_END)
        body.cut(samples, cut + len(BETWEEN_SAMPLES))
        yield part
        wanted_bytes = block_bytes
