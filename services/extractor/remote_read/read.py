"""One window by remote read: the same columns as its JSON would give, or a doubt."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from common.samples.columns import Samples
from common.source.remote_read.ask import STALE_BITS, ask
from common.source.remote_read.doubt import Doubt
from common.source.remote_read.frames import SeriesChunks
from common.source.transport import BodyBounds, Transport
from services.extractor.remote_read.labels import LabelSets
from services.extractor.remote_read.xor import decode


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
        window_ms = start_ms, end_ms
        answer = ask(self._transport, selector, window_ms, self._timeout_seconds, self._bounds)
        for block in self._blocks(answer):
            if wanted := _wanted(block, start_ms, end_ms):
                yield wanted

    def _blocks(self, frames: Iterator[SeriesChunks]) -> Iterator[Samples]:
        last_labels, last_ms = b"", 0
        for found in frames:
            series_of_chunk = np.repeat(np.arange(len(found.labels)), found.chunks)
            for group in decode(found.content, found.starts, found.ends):
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
        stale = values.view(np.uint64) == np.uint64(STALE_BITS)
        values[is_nan] = np.nan
        block = block.where(~stale)
    return block
