"""A query's answer, decoded while it arrives.

The document is ``{"status": "success", "data": {"resultType": "matrix", "result": [series, …]}}``
(https://prometheus.io/docs/prometheus/latest/querying/api/), its keys in any order and with others
beside them. Whatever is wrong with an answer, its generator raises before it ends: blocks are worth
something only once all of them were taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from common.samples.columns import Samples
from services.extractor.body_text import BodyText
from services.extractor.decode_columns import (
    BETWEEN_SAMPLES,
    SAMPLES_END,
    VALUES_START,
    NotColumns,
    last_whole_series,
    read_columns,
)
from services.extractor.decode_plain import read_series
from services.extractor.envelope import Envelope, Notice

# Enough to spread what a call costs, little enough to stay in the cache.
BLOCK_BYTES = 256 << 10
# A series of which more than this has arrived is handed on in parts.
LONG_SERIES_BYTES = 2 << 20


def decode(
    chunks: Iterable[bytes],
    notice: Notice = lambda text: None,
    block_bytes: int = BLOCK_BYTES,
    long_series_bytes: int = LONG_SERIES_BYTES,
) -> Iterator[Samples]:
    """Blocks of the series in an answer that arrives in ``chunks``; memory is a few blocks.

    ``notice`` is told what the query engine remarks about the expression. Ends normally only after
    the whole document was read and is a complete, successful matrix.

    Raises :class:`SourceUnavailable` for what is truncated, no JSON, or carries ``warnings`` (it is
    incomplete), :class:`QueryRejected` for results that are no series, and what
    :func:`~services.extractor.source_errors.reported_error` makes of a reported error.
    """
    body = BodyText(chunks)
    envelope = Envelope()
    for key in body.members():
        if key == "data" and body.peek() == b"{":
            for data_key in body.members():
                if data_key == "result" and body.peek() == b"[":
                    envelope.check_type()
                    envelope.has_result = True
                    yield from _series(body, block_bytes, long_series_bytes)
                else:
                    envelope.data[data_key] = body.value()
        else:
            envelope.top[key] = body.value()
    body.finish()
    envelope.check(notice)


def _series(body: BodyText, block_bytes: int, long_series_bytes: int) -> Iterator[Samples]:
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
                yield read_series(body.value_bytes())
        except NotColumns:
            # Read series by series for a while, then columns are tried again.
            yield read_series(body.value_bytes())
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
