"""The digest of a seal, of columns: see :mod:`common.samples.seal`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from common.samples import seal
from common.samples.rollup import field_key
from common.samples.seal import Digest, key_hash

_TIME_FACTOR = np.uint64(seal.TIME_FACTOR)
_VALUE_FACTOR = np.uint64(seal.VALUE_FACTOR)
_FIRST_FACTOR = np.uint64(seal.FIRST_FACTOR)
_SECOND_FACTOR = np.uint64(seal.SECOND_FACTOR)
_SHIFT = np.uint64(seal.SHIFT)
# Samples hashed at a time: their columns stay in the processor's cache.
_CHUNK_SAMPLES = 16_384
_MOST_KEYS = 200_000
# For each of them there is so much room.
_KEY_BYTES = 300


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
        for sums_of, hashes in zip(of_cells, point_hashes(timestamps_ms, values), strict=True):
            sums_of[filled] = np.add.reduceat(hashes, starts)
        factors = series_factors(keys)
        sums = (of_cells.reshape(2, *counts.shape) * factors[:, :, np.newaxis]).sum(axis=1)
    return [
        Digest(int(points), (int(first), int(second)))
        for points, first, second in zip(totals, *sums, strict=True)
    ]


def digest_of_fields(
    keys: Sequence[bytes],
    counts: NDArray[np.int64],
    timestamps_ms: NDArray[np.int64],
    fields: Mapping[str, NDArray[np.float64]],
) -> Digest:
    """The digest of all fields of series-major points, of which each counts once.

    ``counts``: int64[S], none of them 0. ``fields``: float64[M] of each field, by name. For the
    rest as :func:`digest`.
    """
    points, names = len(timestamps_ms), tuple(fields)
    if not points:
        return Digest()
    times = np.tile(timestamps_ms, len(names))
    hashes = point_hashes(times, np.concatenate([fields[name] for name in names]))
    starts = (np.cumsum(counts) - counts + points * np.arange(len(names))[:, np.newaxis]).ravel()
    sums = np.add.reduceat(hashes, starts, axis=1).reshape(2, len(names), len(keys))
    found = _field_hashes(names)
    factors = _factors(map(found.__getitem__, keys)).reshape(2, len(keys), len(names))
    first, second = (sums.swapaxes(1, 2) * factors).sum(axis=(1, 2))
    return Digest(points, (int(first), int(second)))


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
    return _factors(map(_KEY_HASHES.__getitem__, keys))


def _factors(hashes: Iterable[bytes]) -> NDArray[np.uint64]:
    joined = b"".join(hashes)
    return np.frombuffer(joined, "<u8").astype(np.uint64).reshape(-1, 2).T | np.uint64(1)


class _KeyHashes(dict[bytes, bytes]):
    """The hashes of series keys, which come again and again; too many are forgotten at once.

    With ``fields`` those of each series' fields, one after the other. A least-recently-used cache
    takes more than twice the time, most of it for its order.
    """

    def __init__(self, fields: Sequence[str] = ()) -> None:
        self._fields = tuple(fields)
        self._most_keys = _MOST_KEYS // max(1, len(self._fields))
        self._bytes = 0

    def __missing__(self, key: bytes) -> bytes:
        self._bytes += len(key)
        if len(self) >= self._most_keys or self._bytes > self._most_keys * _KEY_BYTES:
            self.clear()
            self._bytes = len(key)
        keys = [field_key(key, name) for name in self._fields] or [key]
        found = self[key] = b"".join(map(key_hash, keys))
        return found


_KEY_HASHES = _KeyHashes()


@lru_cache(maxsize=8)
def _field_hashes(fields: tuple[str, ...]) -> _KeyHashes:
    """A tier has few combinations of aggregates."""
    return _KeyHashes(fields)


def _mix(hashes: NDArray[np.uint64], factor: np.uint64, scratch: NDArray[np.uint64]) -> None:
    np.right_shift(hashes, _SHIFT, out=scratch)
    hashes ^= scratch
    hashes *= factor
    np.right_shift(hashes, _SHIFT, out=scratch)
    hashes ^= scratch
