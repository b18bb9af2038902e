"""The digest of a seal: 128 bits that tell whether the sink still holds exactly these points.

A seal is the number of points of one window and this digest of them. It is the same in whatever
order the points come, that of several parts is the sum of theirs, and a part can be taken away: two
sums modulo 2^64, each over all series of (a factor of the series key) times (the sum of a hash of
each point's millisecond and value bits). The hashes are those of a finalizer as in splitmix64
(Steele, Lea, Flood 2014), the factors odd halves of BLAKE2b of the series key. It finds damage; it
is no signature.

The series key is that of line protocol, escaped, with its tags in order: what
:class:`common.samples.series.SeriesEncoder` gives. Digests are kept for years: what is computed
here must never change. A new digest needs a new name of the field in the sink.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from common.samples.line_names import escape_measurement, escape_tag

_MODULUS = 2**64
_TIME_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_VALUE_FACTOR = np.uint64(0xC2B2AE3D27D4EB4F)
_FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
_SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
_SHIFT = np.uint64(32)
# Samples hashed at a time: their columns stay in the processor's cache.
_CHUNK_SAMPLES = 16_384
_MOST_KEYS = 200_000
_TEXT = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Digest:
    """Of ``points`` points: two sums, each modulo 2^64."""

    points: int = 0
    sums: tuple[int, int] = (0, 0)

    def __add__(self, other: Digest) -> Digest:
        first, second = (a + b for a, b in zip(self.sums, other.sums, strict=True))
        return Digest(self.points + other.points, (first % _MODULUS, second % _MODULUS))

    def __sub__(self, other: Digest) -> Digest:
        first, second = (a - b for a, b in zip(self.sums, other.sums, strict=True))
        return Digest(self.points - other.points, (first % _MODULUS, second % _MODULUS))

    @property
    def text(self) -> str:
        """The sums as 32 hexadecimal digits."""
        return f"{self.sums[0]:016x}{self.sums[1]:016x}"

    @classmethod
    def parse(cls, points: int, text: str) -> Digest:
        """The reverse of :attr:`text`. Raises :class:`ValueError`."""
        if points < 0 or not _TEXT.fullmatch(text):
            raise ValueError(f"{text!r:.80} of {points} points is no digest")
        return cls(points, (int(text[:16], 16), int(text[16:], 16)))


def digest(
    keys: Sequence[bytes],
    counts: NDArray[np.int64],
    timestamps_ms: NDArray[np.int64],
    values: NDArray[np.float64],
) -> Digest:
    """The digest of series-major columns: those of :class:`common.samples.columns.Samples`.

    ``keys``: S series keys. ``counts``: int64[S], the points of each. ``timestamps_ms``: int64[N].
    ``values``: float64[N]. N is the sum of ``counts``.
    """
    (first,) = digests_by_part(keys, counts[:, np.newaxis], timestamps_ms, values)
    return first


def digests_by_part(
    keys: Sequence[bytes],
    counts: NDArray[np.int64],
    timestamps_ms: NDArray[np.int64],
    values: NDArray[np.float64],
) -> list[Digest]:
    """The digests of P parts: ``counts``, int64[S, P], says how each series is divided.

    The points of a series lie together, in the order of the parts. For the rest as :func:`digest`.
    """
    totals = counts.sum(axis=0)
    sums = np.zeros((2, counts.shape[1]), np.uint64)
    if len(timestamps_ms):
        flat = counts.ravel()
        filled = np.flatnonzero(flat)
        starts = np.cumsum(flat[filled]) - flat[filled]
        of_cells = np.zeros((2, flat.size), np.uint64)
        for of_lane, hashes in zip(of_cells, point_hashes(timestamps_ms, values), strict=True):
            of_lane[filled] = np.add.reduceat(hashes, starts)
        factors = series_factors(keys)
        sums = (of_cells.reshape(2, *counts.shape) * factors[:, :, np.newaxis]).sum(axis=1)
    return [
        Digest(int(points), (int(first), int(second)))
        for points, first, second in zip(totals, *sums, strict=True)
    ]


def point_hashes(
    timestamps_ms: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.uint64]:
    """uint64[2, N]: two hashes of each point's millisecond and value bits."""
    hashes = np.empty((2, len(values)), np.uint64)
    times = np.ascontiguousarray(timestamps_ms, np.int64).view(np.uint64)
    bits = np.ascontiguousarray(values, np.float64).view(np.uint64)
    scratch = np.empty(min(_CHUNK_SAMPLES, len(values)), np.uint64)
    for start in range(0, len(values), _CHUNK_SAMPLES):
        chunk = slice(start, start + _CHUNK_SAMPLES)
        first, second = hashes[0, chunk], hashes[1, chunk]
        moved = scratch[: len(first)]
        np.multiply(times[chunk], _TIME_FACTOR, out=first)
        np.multiply(bits[chunk], _VALUE_FACTOR, out=moved)
        first += moved
        _mix(first, _FIRST_FACTOR, moved)
        np.multiply(first, _SECOND_FACTOR, out=second)
        np.right_shift(second, _SHIFT, out=moved)
        second ^= moved
    return hashes


def series_factors(keys: Iterable[bytes]) -> NDArray[np.uint64]:
    """uint64[2, S]: two odd factors of each series key."""
    joined = b"".join(map(_KEY_HASHES.__getitem__, keys))
    return np.frombuffer(joined, "<u8").astype(np.uint64).reshape(-1, 2).T | np.uint64(1)


def series_key(measurement: str, tags: Iterable[tuple[str, str]]) -> bytes:
    """The series key of a measurement and its tags (in any order) as a sink gives them back."""
    pairs = sorted((escape_tag(key), escape_tag(value)) for key, value in tags)
    return ",".join((escape_measurement(measurement), *map("=".join, pairs))).encode()


class _KeyHashes(dict[bytes, bytes]):
    """The hashes of series keys, which come again and again; too many are forgotten at once.

    A least-recently-used cache takes more than twice the time, most of it for its order.
    """

    def __missing__(self, key: bytes) -> bytes:
        if len(self) >= _MOST_KEYS:
            self.clear()
        found = self[key] = blake2b(key, digest_size=16).digest()
        return found


_KEY_HASHES = _KeyHashes()


def _mix(hashes: NDArray[np.uint64], factor: np.uint64, scratch: NDArray[np.uint64]) -> None:
    np.right_shift(hashes, _SHIFT, out=scratch)
    hashes ^= scratch
    hashes *= factor
    np.right_shift(hashes, _SHIFT, out=scratch)
    hashes ^= scratch
