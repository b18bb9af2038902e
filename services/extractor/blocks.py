"""What a query's answer is decoded to: columns of samples, a run of series at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SeriesBlock:
    """Columns of samples of a run of series, series-major.

    ``series``: label sets as JSON objects (UTF-8), byte for byte as in the answer, length S.
    ``counts``: int64[S], samples of each series, at least 1. ``timestamps_ms``: int64[N],
    milliseconds since the epoch, ascending within a series. ``values``: float64[N]. N is the sum of
    ``counts``.

    ``histograms``: native histogram samples that the answer held at this point and that cannot be
    carried, because a point has one float value. They are counted here so that nobody loses them in
    silence; a block of no series can carry such a count.

    A series too long to be held at once comes as several consecutive blocks that begin with the
    same label set.
    """

    series: tuple[bytes, ...]
    counts: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    histograms: int = 0

    def __len__(self) -> int:
        return len(self.timestamps_ms)

    def after(self, start_ms: int) -> SeriesBlock:
        """The samples later than ``start_ms``; series left without any are left out."""
        if not len(self) or int(self.timestamps_ms.min()) > start_ms:
            return self
        return self.where(self.timestamps_ms > start_ms)

    def where(self, kept: NDArray[np.bool_]) -> SeriesBlock:
        """The samples that ``kept`` (bool[N]) marks; series left without any are left out."""
        kept_before = np.concatenate(([0], np.cumsum(kept)))
        ends = np.cumsum(self.counts)
        counts = (kept_before[ends] - kept_before[ends - self.counts]).astype(np.int64)
        left = counts > 0
        return SeriesBlock(
            tuple(labels for labels, some in zip(self.series, left, strict=True) if some),
            counts[left],
            self.timestamps_ms[kept],
            self.values[kept],
            self.histograms,
        )

    def part(self, first: int, last: int, ends: NDArray[np.int64]) -> SeriesBlock:
        """Series ``first`` to ``last - 1``, as views; ``ends`` is the running sum of ``counts``."""
        begin, end = int(ends[first] - self.counts[first]), int(ends[last - 1])
        return SeriesBlock(
            self.series[first:last],
            self.counts[first:last],
            self.timestamps_ms[begin:end],
            self.values[begin:end],
        )

    @classmethod
    def join(cls, blocks: Iterable[SeriesBlock]) -> SeriesBlock:
        """The series of several blocks, one after the other."""
        parts = list(blocks)
        if len(parts) == 1:
            return parts[0]
        parts = parts or [no_series()]
        return cls(
            tuple(labels for part in parts for labels in part.series),
            np.concatenate([part.counts for part in parts]),
            np.concatenate([part.timestamps_ms for part in parts]),
            np.concatenate([part.values for part in parts]),
            sum(part.histograms for part in parts),
        )


def no_series(histograms: int = 0) -> SeriesBlock:
    """A block without samples, which can still tell of histogram samples that were skipped."""
    return SeriesBlock((), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), histograms)
