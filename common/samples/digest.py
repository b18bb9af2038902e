"""A digest of samples that is the same in whatever order they come.

It tells whether evaluating an expression again gives what was loaded: two sums, modulo 2^32, of the
halves of a 64-bit hash of each sample (series, millisecond, bits of the value). That of two ranges
together is therefore the sum of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from common.samples.columns import Samples

HALF = 2**32
_TIME_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_VALUE_FACTOR = np.uint64(0xC2B2AE3D27D4EB4F)
_SHIFT = np.uint64(32)
_LOW = np.uint64(HALF - 1)


@dataclass(slots=True)
class Digest:
    """Of what was added to it so far; ``samples`` of them."""

    samples: int = 0
    sums: tuple[int, int] = (0, 0)

    def add(self, block: Samples) -> None:
        """Add the samples of a block, native histograms by their number alone."""
        mixed = _hashes(block)
        low, high = int((mixed & _LOW).sum()), int((mixed >> _SHIFT).sum())
        self.samples += len(block) + len(block.histograms_ms)
        self.sums = (self.sums[0] + low) % HALF, (self.sums[1] + high) % HALF


def digests_of(blocks: Iterable[Samples], ends_ms: Sequence[int]) -> list[Digest]:
    """The digest of each of the adjoining ranges that end at ``ends_ms``.

    No sample is later than the last of them.
    """
    digests = [Digest() for _ in ends_ms]
    for block in blocks:
        places = np.searchsorted(ends_ms, block.timestamps_ms)
        for place in np.unique(places):
            digests[place].add(block.where(places == place))
        for place, count in enumerate(np.bincount(np.searchsorted(ends_ms, block.histograms_ms))):
            digests[place].samples += int(count)
    return digests


def _hashes(block: Samples) -> NDArray[np.uint64]:
    """uint64[N]: of each sample."""
    of_series = [
        int.from_bytes(blake2b(series, digest_size=8).digest(), "little") for series in block.series
    ]
    mixed = np.repeat(np.array(of_series, np.uint64), block.counts)
    mixed ^= block.timestamps_ms.astype(np.uint64) * _TIME_FACTOR
    # Every NaN is the same, whatever its bits.
    values = np.where(np.isnan(block.values), np.nan, block.values)
    for bits in (values.view(np.uint64), np.uint64(0)):
        mixed ^= bits
        mixed ^= mixed >> _SHIFT
        mixed *= _VALUE_FACTOR
    mixed ^= mixed >> _SHIFT
    return mixed
