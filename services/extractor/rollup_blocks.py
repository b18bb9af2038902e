"""The blocks of a window as a rollup needs them: each series whole, with the sample before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from common.errors import QueryTooLarge
from common.samples.columns import Samples

# Of one series in one window, held at a time: 16 bytes each.
MAX_SERIES_SAMPLES = 2_000_000


def whole_series(blocks: Iterable[Samples]) -> Iterator[Samples]:
    """Blocks in which each series is whole: a response may be cut within one.

    Raises :class:`QueryTooLarge` for a series that does not fit.
    """
    held: list[Samples] = []  # the parts of the last series so far
    for block in blocks:
        if len(block.histograms_ms) or len(block.surplus_ms):
            yield Samples.empty().with_counted(block)
        if not block.series:
            continue
        ends, last, first = block.ends, len(block.series) - 1, 0
        if held and block.series[0] == held[-1].series[0]:
            held.append(block.part(0, 1, ends))
            first = 1
        if first <= last:
            if held:
                yield _joined(held)
            if first < last:
                yield block.part(first, last, ends)
            held = [block.part(last, last + 1, ends)]
        if sum(map(len, held)) > MAX_SERIES_SAMPLES:
            raise QueryTooLarge(f"more than {MAX_SERIES_SAMPLES} samples of one series")
    if held:
        yield _joined(held)


def _joined(parts: list[Samples]) -> Samples:
    whole = Samples.join(parts)
    return replace(
        whole, series=whole.series[:1], counts=np.array([len(whole)], np.int64), keys=whole.keys[:1]
    )


def with_last_before(block: Samples, start_ms: int) -> Samples:
    """A block of whole series without what lies at or before ``start_ms``.

    But each series keeps its last sample of that time that is a number.
    """
    before, found = block.timestamps_ms <= start_ms, block
    if before.any():
        numbers = np.flatnonzero(before & np.isfinite(block.values))
        series = np.repeat(np.arange(len(block.counts)), block.counts)[numbers]
        wanted = ~before
        wanted[numbers[np.append(series[1:] != series[:-1], True)[: len(numbers)]]] = True
        block = block.where(wanted)
    return block.with_counted(found, lambda times_ms: times_ms > start_ms)
