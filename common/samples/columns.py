"""Samples as columns: the one form in which every stage handles them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import chain, compress

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Samples:
    """Columns of samples, series-major: those of series 0, then those of series 1, and so on.

    Whatever depends on labels alone is therefore done once for each series.

    ``series``: label sets as JSON objects (UTF-8), byte for byte as Prometheus wrote them, length
    S. ``counts``: int64[S], samples of each series. ``timestamps_ms``: int64[N], milliseconds since
    the epoch. ``values``: float64[N]. N is the sum of ``counts``.

    ``keys``: the series key that each series has in the sink, or nothing while none is known.

    ``histograms_ms``: int64[H], the timestamps of native histogram samples that a response held at
    this point and that are not carried, because a point has one float value. ``surplus_ms``: of
    those that are carried as several samples, the timestamp once for each of these but one, as the
    source counts a histogram as one sample. Both stand here to be counted; what selects among the
    samples leaves them out, and samples of no series may have some.
    """

    series: tuple[bytes, ...]
    counts: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    keys: tuple[bytes, ...] = ()
    histograms_ms: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    surplus_ms: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def empty(cls) -> Samples:
        """No samples of no series."""
        return cls((), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))

    @classmethod
    def join(cls, parts: Iterable[Samples]) -> Samples:
        """The series of several, one after the other."""
        joined = list(parts) or [cls.empty()]
        if len(joined) == 1:
            return joined[0]
        return cls(
            tuple(chain.from_iterable(part.series for part in joined)),
            np.concatenate([part.counts for part in joined]),
            np.concatenate([part.timestamps_ms for part in joined]),
            np.concatenate([part.values for part in joined]),
            tuple(chain.from_iterable(part.keys for part in joined)),
            np.concatenate([part.histograms_ms for part in joined]),
            np.concatenate([part.surplus_ms for part in joined]),
        )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def ends(self) -> NDArray[np.int64]:
        """int64[S]: the position behind the last sample of each series."""
        return np.cumsum(self.counts)

    @property
    def starts(self) -> NDArray[np.int64]:
        """int64[S]: the position of the first sample of each series."""
        return self.ends - self.counts

    def where(self, wanted: NDArray[np.bool_]) -> Samples:
        """The samples that ``wanted`` (bool[N]) marks; series left without any are left out."""
        # How many wanted samples lie before each sample, so that the counts are differences.
        before = np.concatenate(([0], np.cumsum(wanted)))
        ends = self.ends
        counts = (before[ends] - before[ends - self.counts]).astype(np.int64, copy=False)
        return self._selected(counts > 0, counts, wanted)

    def of_series(self, wanted: NDArray[np.bool_]) -> Samples:
        """The series that ``wanted`` (bool[S]) marks, with all their samples."""
        return self._selected(wanted, self.counts, np.repeat(wanted, self.counts))

    def part(self, first: int, last: int, ends: NDArray[np.int64]) -> Samples:
        """Series ``first`` to ``last - 1``, as views; ``ends`` is computed once for many parts."""
        begin, end = int(ends[first] - self.counts[first]), int(ends[last - 1])
        return Samples(
            self.series[first:last],
            self.counts[first:last],
            self.timestamps_ms[begin:end],
            self.values[begin:end],
            self.keys[first:last],
        )

    def after(self, start_ms: int) -> Samples:
        """What is later than ``start_ms``, histograms too; series left without any are left out."""
        later = self
        if len(self) and int(self.timestamps_ms.min()) <= start_ms:
            later = self.where(self.timestamps_ms > start_ms)
        return later.with_counted(self, lambda times_ms: times_ms > start_ms)

    def up_to(self, end_ms: int) -> Samples:
        """The reverse: what is at ``end_ms`` or earlier."""
        earlier = self
        if len(self) and int(self.timestamps_ms.max()) > end_ms:
            earlier = self.where(self.timestamps_ms <= end_ms)
        return earlier.with_counted(self, lambda times_ms: times_ms <= end_ms)

    def with_counted(
        self,
        other: Samples,
        wanted: Callable[[NDArray[np.int64]], NDArray[np.bool_]] = lambda times_ms: np.ones(
            len(times_ms), np.bool_
        ),
    ) -> Samples:
        """These with what ``other`` has only to be counted, of the times that are ``wanted``."""
        if not len(other.histograms_ms) and not len(other.surplus_ms):
            return self
        histograms_ms, surplus_ms = (
            times_ms[wanted(times_ms)] for times_ms in (other.histograms_ms, other.surplus_ms)
        )
        return replace(self, histograms_ms=histograms_ms, surplus_ms=surplus_ms)

    def _selected(
        self, series: NDArray[np.bool_], counts: NDArray[np.int64], samples: NDArray[np.bool_]
    ) -> Samples:
        chosen = series.tolist()
        return Samples(
            tuple(compress(self.series, chosen)),
            counts[series],
            self.timestamps_ms[samples],
            self.values[samples],
            tuple(compress(self.keys, chosen)),
        )
