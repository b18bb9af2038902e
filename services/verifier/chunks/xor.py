"""Chunks of float samples, decoded from what Prometheus says of them (tsdb/docs/format/chunks.md).

The extractor decodes them, too. This shares nothing with it on purpose: an error in one of the two
must show up as a difference, not be made twice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.source.remote_read.doubt import Doubt

Times = NDArray[np.int64]
Bits = NDArray[np.uint64]

# Decoded side by side, the longest ones first.
GROUP_CHUNKS = 3000
# Reading ahead ends within them.
_PADDING = bytes(32)
_HEADER_BYTES = 2
# Bits of a sample that differs from the one before in nothing: one for its time, one for its value.
_LEAST_BITS = 2

# A difference of distances: its prefix is as many ones as the place in this list, and a zero but
# for the last; that many bits follow.
_SIZES = (0, 14, 17, 20, 64)
_PREFIXES = (1, 2, 3, 4, 4)
# The place, by the first four bits.
_PLACE = np.array([4 if n == 15 else f"{n:04b}".index("0") for n in range(16)])


def u64(number: int) -> np.uint64:
    """A number that a shift of other such numbers takes."""
    return np.uint64(number)


class _Bytes:
    """The answer, read at any bit."""

    def __init__(self, content: bytes) -> None:
        padded = content + _PADDING
        self.bytes = np.frombuffer(padded, np.uint8)
        # Eight bytes from each byte on.
        self._last = len(content) + 8
        self._eight = np.ndarray((self._last + 1,), ">u8", padded, strides=(1,))

    def ahead(self, at: Times) -> Bits:
        """64 bits from the bit ``at`` on."""
        byte, bit = np.minimum(at >> 3, self._last), (at & 7).astype(np.uint64)
        words = self._eight[byte].astype(np.uint64)
        ninth = self.bytes[byte + 8].astype(np.uint64)
        found: Bits = words << bit | ninth >> (u64(8) - bit)
        return found

    def varint(self, at: Times) -> Bits:
        """The number whose bytes begin at the bit ``at``, which is moved behind it."""
        found = np.zeros(len(at), np.uint64)
        open_ = np.arange(len(at))
        for shift in range(0, 70, 7):
            byte = self.bytes.take(at[open_] >> 3, mode="clip").astype(np.uint64)
            found[open_] |= (byte & u64(127)) << u64(shift)
            at[open_] += 8
            open_ = open_[byte >= u64(128)]
            if not len(open_):
                return found
        raise Doubt("chunk", "sent a chunk with a number of more than 64 bits")


def samples_of(
    content: bytes, starts: Times, ends: Times
) -> tuple[Times, Times, NDArray[np.float64]]:
    """Of chunks ``content[starts[i]:ends[i]]`` the number of samples, and times in ms and values.

    Raises :class:`Doubt` for one that does not hold the samples that it promises.
    """
    source, text = _Bytes(content), np.frombuffer(content, np.uint8)
    if (ends - starts < _HEADER_BYTES).any():
        raise Doubt("chunk", "sent a chunk without the number of its samples")
    counts = text[starts].astype(np.int64) * 256 + text[starts + 1]
    if (counts == 0).any() or (counts * _LEAST_BITS > (ends - starts) * 8).any():
        raise Doubt("chunk", "sent a chunk that cannot hold its samples")
    groups = [
        _group(source, starts[part], ends[part], counts[part])
        for part in (slice(at, at + GROUP_CHUNKS) for at in range(0, len(starts), GROUP_CHUNKS))
    ]
    times = np.concatenate([np.empty(0, np.int64), *(times for times, _ in groups)])
    values = np.concatenate([np.empty(0, np.uint64), *(values for _, values in groups)])
    return counts, times, values.view(np.float64)


def _group(source: _Bytes, begin: Times, end: Times, counts: Times) -> tuple[Times, Bits]:
    order = np.argsort(counts)[::-1]
    left = counts[order]
    times = np.zeros((int(left[0]), len(order)), np.int64)
    values = np.zeros(times.shape, np.uint64)
    at = (begin[order] + _HEADER_BYTES) * 8
    folded = source.varint(at)
    time = (folded >> u64(1)).astype(np.int64) ^ -(folded & u64(1)).astype(np.int64)
    value, distance = source.ahead(at), np.zeros(len(order), np.int64)
    at += 64
    size, behind = np.zeros(len(order), np.uint64), np.zeros(len(order), np.uint64)
    times[0], values[0] = time, value
    for number in range(1, len(times)):
        more = int(np.count_nonzero(left > number))
        at_, time_, distance_ = at[:more], time[:more], distance[:more]
        value_, size_, behind_ = value[:more], size[:more], behind[:more]
        if number == 1:
            distance_ += source.varint(at_).astype(np.int64)
        else:
            _next_distance(source, at_, distance_)
        time_ += distance_
        _next_value(source, at_, value_, size_, behind_)
        times[number, :more], values[number, :more] = time_, value_
    if (at > end[order] * 8).any():
        raise Doubt("chunk", "sent a chunk that ends before its samples do")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    has = np.arange(len(times)) < counts[:, None]
    return times.T[place][has], values.T[place][has]


def _next_distance(source: _Bytes, at: Times, distance: Times) -> None:
    """Add what the distances differ by, and move ``at`` behind it."""
    ahead = source.ahead(at)
    places = _PLACE[(ahead >> u64(60)).astype(np.int64)]
    if not places.any():
        at += 1
        return
    for place, (size, prefix) in enumerate(zip(_SIZES, _PREFIXES, strict=True)):
        which = np.flatnonzero(places == place)
        if size == 64:
            at[which] += prefix
            distance[which] += source.ahead(at[which]).astype(np.int64)
            at[which] += size
            continue
        if size:
            number = ((ahead[which] << u64(prefix)) >> u64(64 - size)).astype(np.int64)
            number[number > 1 << size - 1] -= 1 << size
            distance[which] += number
        at[which] += prefix + size


def _next_value(source: _Bytes, at: Times, value: Bits, size: Bits, behind: Bits) -> None:
    """Change values by the bits that differ, and move ``at`` behind them.

    ``size`` and ``behind``: how many bits differed last, and how many came after them.
    """
    ahead = source.ahead(at)
    differs = np.flatnonzero(ahead >> u64(63))
    at += 1
    if not len(differs):
        return
    ahead = ahead[differs]
    anew = (ahead >> u64(62)) & u64(1) == u64(1)
    fresh, bits = differs[anew], ahead[anew]
    before, wide = (bits >> u64(57)) & u64(31), (bits >> u64(51)) & u64(63)
    wide[wide == 0] = 64
    if (before + wide > u64(64)).any():
        raise Doubt("chunk", "sent a chunk with a value of more than 64 bits")
    size[fresh], behind[fresh] = wide, u64(64) - before - wide
    at[differs] += np.where(anew, 12, 1)
    width = size[differs]
    value[differs] ^= source.ahead(at[differs]) >> (u64(64) - width) << behind[differs]
    at[differs] += width.astype(np.int64)
