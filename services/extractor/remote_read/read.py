"""One window by remote read: the same columns as its JSON would give, or a doubt.

``POST /api/v1/read`` with streamed chunks is described at
https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/, which does not call it
stable: whatever is not as expected is a :class:`Doubt`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from common.errors import QueryRejected, QueryTooLarge, SourceError, SourceRefused
from common.samples.columns import Samples
from common.source.errors import snippet
from common.source.remote_read.doubt import Doubt, Reason
from common.source.remote_read.frames import SeriesChunks, read_frames
from common.source.remote_read.request import ANSWER_TYPE, HEADERS, read_request
from common.source.transport import BodyBounds, Message, Transport
from services.extractor.remote_read.labels import LabelSets
from services.extractor.remote_read.xor import decode

# What Prometheus writes where a series ends (``model/value/value.go``); queries do not show it.
STALE_BITS = np.uint64(0x7FF0_0000_0000_0002)


class RemoteReader:
    """Reads through ``transport``. Not safe for several threads."""

    def __init__(self, transport: Transport, timeout_seconds: float, bounds: BodyBounds) -> None:
        self._transport = transport
        self._timeout_seconds = timeout_seconds
        self._bounds = bounds
        self._labels = LabelSets()

    def read(self, selector: str, start_ms: int, end_ms: int) -> Iterator[Samples]:
        """The samples of ``selector`` with ``start_ms < t <= end_ms``, in blocks as they arrive.

        Raises :class:`Doubt` where they cannot be trusted, after some blocks perhaps. One series
        may go on in the next block.
        """
        message = Message(read_request(selector, start_ms, end_ms), HEADERS)
        has_begun = False
        try:
            with self._transport.post(
                "api/v1/read", message, self._timeout_seconds, self._bounds
            ) as (headers, pieces):
                has_begun = True
                kind = headers.get("Content-Type", "")
                if not kind.startswith(ANSWER_TYPE):
                    raise Doubt("not_streamed", f"answered with {snippet(kind)}, not with chunks")
                for block in self._blocks(read_frames(pieces)):
                    if wanted := _wanted(block, start_ms, end_ms):
                        yield wanted
        except SourceError as error:
            if self._transport.stopped:
                raise
            raise Doubt("broken_off" if has_begun else _reason(error), str(error)) from None

    def _blocks(self, frames: Iterator[SeriesChunks]) -> Iterator[Samples]:
        last_labels, last_ms = b"", 0
        for found in frames:
            starts, ends = np.array(found.starts, np.int64), np.array(found.ends, np.int64)
            series_of_chunk = np.repeat(np.arange(len(found.labels)), found.chunks)
            for group in decode(found.content, starts, ends):
                series = series_of_chunk[group.first : group.last]
                begins = np.flatnonzero(np.diff(series, prepend=-1))
                labels = [found.labels[index] for index in series[begins].tolist()]
                counts = np.add.reduceat(group.counts, begins)
                goes_on = labels[0] == last_labels
                if (goes_on and group.times_ms[0] <= last_ms) or not _ascend(
                    group.times_ms, counts
                ):
                    raise Doubt("order", "sent samples of a series that are not in order of time")
                last_labels, last_ms = labels[-1], int(group.times_ms[-1])
                yield Samples(
                    tuple(map(self._labels.json, labels)), counts, group.times_ms, group.values
                )


def _reason(error: SourceError) -> Reason:
    """Why there was no answer."""
    refusals = (SourceRefused, QueryRejected, QueryTooLarge)
    return "refused" if isinstance(error, refusals) else "no_answer"


def _ascend(times_ms: NDArray[np.int64], counts: NDArray[np.int64]) -> bool:
    later = times_ms[1:] > times_ms[:-1]
    later[np.cumsum(counts)[:-1] - 1] = True
    return bool(later.all())


def _wanted(block: Samples, start_ms: int, end_ms: int) -> Samples:
    """What a query shows of ``block``: within the window, no stale markers, one kind of NaN."""
    times_ms, values = block.timestamps_ms, block.values
    if int(times_ms.min()) <= start_ms or int(times_ms.max()) > end_ms:
        # Not all servers cut their chunks to what was asked for.
        block = block.where((times_ms > start_ms) & (times_ms <= end_ms))
        values = block.values
    if (is_nan := np.isnan(values)).any():
        stale = values.view(np.uint64) == STALE_BITS
        values[is_nan] = np.nan
        block = block.where(~stale)
    return block
