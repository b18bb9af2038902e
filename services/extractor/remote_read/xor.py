"""Chunks of float samples, many of them decoded side by side: sample by sample, not chunk by chunk.

The format is in ``tsdb/docs/format/chunks.md`` and ``tsdb/chunkenc/xor.go`` of Prometheus: the
number of samples (16 bits), the first time (varint) and value (64 bits), the second time's distance
(uvarint), and then bits: how much a distance differs from the one before, and in which bits a value
does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.source.remote_read.doubt import Doubt

# Enough chunks side by side to spread what a call costs; more do not fit into the cache.
MOST_CHUNKS = 4096
# Samples that there is place for meanwhile, 16 bytes each: as many a chunk as the longest has.
MOST_PLACES = 1 << 19

# A sample takes two bits at least.
MOST_SAMPLES_A_BYTE = 4

# Behind what is decoded: reading ahead ends within them.
_PADDING = bytes(24)
_LONGEST_VARINT_BYTES = 10

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

_1, _6, _7, _13, _60, _63, _64 = map(np.uint64, (1, 6, 7, 13, 60, 63, 64))
_LEADING_SHIFT, _LEADING_MASK = np.uint64(57), np.uint64(31)
_WIDTH_SHIFT, _WIDTH_MASK = np.uint64(51), np.uint64(63)
# Both control bits are set: the value has changed in other bits than the last one that did.
_NEW_RANGE = np.uint64(3 << 62)


def _by_first_bits(*of_class: int) -> Words:
    """A table by the first four bits of a distance's difference: 0…, 10…, 110…, 1110, 1111."""
    return np.repeat(np.array(of_class, np.uint64), (8, 4, 2, 1, 1))


_SIZES = (0, 14, 17, 20, 64)
_PREFIX_BITS = _by_first_bits(1, 2, 3, 4, 4)
_BITS = _PREFIX_BITS + _by_first_bits(*_SIZES)
_SIZE_SHIFT = _by_first_bits(*(64 - size for size in _SIZES))
# A number of n bits is above -2^(n-1), and at most 2^(n-1): unlike two's complement.
_BIAS = _by_first_bits(*(max(0, (1 << size >> 1) - 1) for size in _SIZES))
_MASK = _by_first_bits(*((1 << size) - 1 for size in _SIZES))
_WHOLE_WORD = np.uint64(15)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The chunks from ``first`` to ``last - 1``: the times (ms) and values of one after the other.

    ``counts``: how many samples each has.
    """

    first: int
    last: int
    counts: Ints
    times_ms: Ints
    values: NDArray[np.float64]


def decode(content: bytes, starts: Ints, ends: Ints) -> Iterator[Decoded]:
    """The samples of the chunks ``content[starts[i]:ends[i]]``, those of many chunks at a time.

    Raises :class:`Doubt` for a chunk that ends before its samples do, or has none.
    """
    padded = content + _PADDING + bytes(-len(content) % 8)
    text = np.frombuffer(padded, np.uint8)
    words = np.frombuffer(padded, ">u8").astype(np.uint64)
    if ((ends - starts) < 2).any():
        raise Doubt("chunk", "sent a chunk without a header")
    counts = text[starts].astype(np.int64) << 8 | text[starts + 1]
    if ((counts > MOST_SAMPLES_A_BYTE * (ends - starts)) | (counts == 0)).any():
        raise Doubt("chunk", "sent a chunk without samples, or too short for them")
    first = 0
    while first < len(starts):
        last = _last_of_group(counts, first)
        part = slice(first, last)
        group = _Group(text, words, starts[part], ends[part], counts[part])
        yield Decoded(first, last, counts[part], group.times_ms, group.values)
        first = last


def _last_of_group(counts: Ints, first: int) -> int:
    """Up to where the chunks from ``first`` on are decoded together."""
    longest = np.maximum.accumulate(counts[first : first + MOST_CHUNKS])
    places = longest * np.arange(1, len(longest) + 1)
    return first + max(1, int(np.searchsorted(places, MOST_PLACES, "right")))


class _Group:
    """Chunks that are decoded side by side: ``times_ms`` and ``values``, chunk after chunk.

    The chunks with the most samples come first, so that those which go on do.
    """

    def __init__(
        self, text: NDArray[np.uint8], words: Words, starts: Ints, ends: Ints, counts: Ints
    ) -> None:
        self._text, self._words, self._next_words = text, words, words[1:]
        order = np.argsort(-counts, kind="stable")
        sorted_counts = counts[order]
        # How many chunks have an nth sample.
        self._active = np.searchsorted(-sorted_counts, -np.arange(sorted_counts[0] + 1), "left")
        self._times = np.empty((int(sorted_counts[0]), len(counts)), np.int64)
        self._values = np.empty(self._times.shape, np.uint64)
        at = self._first(starts[order] + 2)
        if (at.view(np.int64) > ends[order] * 8).any():
            raise Doubt("chunk", "sent a chunk that ends before its samples")
        self.times_ms = _chunk_after_chunk(self._times, order, sorted_counts)
        self.values = _chunk_after_chunk(self._values, order, sorted_counts).view(np.float64)

    def _first(self, position: Ints) -> Words:
        """Decode all, given where each chunk's first time is; the bit behind its last."""
        folded = self._varint(position)
        self._times[0] = (folded >> _1).view(np.int64) ^ -(folded & _1).view(np.int64)
        at = position.view(np.uint64) << np.uint64(3)
        self._values[0] = self._bits(at)
        at += _64
        if len(self._active) > 2:
            active = int(self._active[1])
            second = position[:active] + 8
            distances = self._varint(second).view(np.int64)
            at[:active] = second.view(np.uint64) << np.uint64(3)
            np.add(self._times[0, :active], distances, out=self._times[1, :active])
            self._rest(at, distances)
        return at

    def _rest(self, at: Words, distances: Ints) -> None:
        """Decode from the second value on; ``at`` is moved behind what was read."""
        active = int(self._active[1])
        width, trailing = np.zeros(active, np.uint64), np.zeros(active, np.uint64)
        at = at[:active]
        self._add_value(1, at, self._bits(at), width, trailing)
        for number in range(2, len(self._active) - 1):
            if (going := int(self._active[number])) < active:
                active = going
                at, distances = at[:active], distances[:active]
                width, trailing = width[:active], trailing[:active]
            ahead = self._bits(at)
            differs = (ahead >> _63).nonzero()[0]
            if len(differs) == 0:
                at += _1
                ahead <<= _1
            else:
                ahead = self._changed_distance(at, ahead, differs, distances)
            np.add(self._times[number - 1, :active], distances, out=self._times[number, :active])
            self._add_value(number, at, ahead, width, trailing)

    def _changed_distance(
        self, at: Words, ahead: Words, differs: NDArray[np.intp], distances: Ints
    ) -> Words:
        """Pass the differences of distances, given the chunks with any; what is ahead of each."""
        found = ahead[differs]
        kind = (found >> _60).view(np.int64)
        bias = _BIAS[kind]
        number = (found << _PREFIX_BITS[kind]) >> _SIZE_SHIFT[kind]
        used = np.ones(len(at), np.uint64)
        used[differs] = _BITS[kind]
        long = (kind == _WHOLE_WORD).nonzero()[0]
        if len(long):
            number[long] = self._bits(at[differs[long]] + np.uint64(4))
        number = (number + bias & _MASK[kind]) - bias
        distances[differs] += number.view(np.int64)
        at += used
        ahead = ahead << used
        if len(long):
            ahead[differs[long]] = self._bits(at[differs[long]])
        return ahead

    def _add_value(
        self, number: int, at: Words, ahead: Words, width: Words, trailing: Words
    ) -> None:
        """Pass a value, given the 15 bits and more that are ahead of it."""
        changed = ahead >> _63
        header = changed + _1
        new = (ahead >= _NEW_RANGE).nonzero()[0]
        if len(new):
            found = ahead[new]
            bits = found >> _WIDTH_SHIFT & _WIDTH_MASK
            bits[bits == 0] = _64
            width[new] = bits
            trailing[new] = _64 - (found >> _LEADING_SHIFT & _LEADING_MASK) - bits
            header[new] = _13
        at += header
        bits = width * changed
        # A shift by 64 bits or more leaves nothing, in numpy as in Go.
        difference = (self._bits(at) >> (_64 - bits)) << trailing
        active = len(at)
        np.bitwise_xor(
            self._values[number - 1, :active], difference, out=self._values[number, :active]
        )
        at += bits

    def _bits(self, at: Words) -> Words:
        """The 64 bits from each position on."""
        place = (at >> _6).view(np.int64)
        shift = at & _63
        found = self._words.take(place, mode="clip") << shift
        found |= self._next_words.take(place, mode="clip") >> (_64 - shift)
        return found

    def _varint(self, position: Ints) -> Words:
        """The number at each position, in bytes; ``position`` is moved behind it."""
        number = np.zeros(len(position), np.uint64)
        goes_on = np.ones(len(position), bool)
        for index in range(_LONGEST_VARINT_BYTES):
            byte = self._text.take(position, mode="clip") * goes_on
            number |= (byte & 0x7F).astype(np.uint64) << np.uint64(7 * index)
            position += goes_on
            goes_on = byte >= 0x80
            if not goes_on.any():
                return number
        raise Doubt("chunk", "sent a chunk with a number that has no end")


def _chunk_after_chunk(places: NDArray[np.generic], order: Ints, counts: Ints) -> Ints:
    """The samples of one chunk after the other, from one row for each number of a sample."""
    active = np.ascontiguousarray(places.T)
    if counts[0] == counts[-1]:
        return active.ravel()
    back = np.argsort(order)
    return active[back][np.arange(len(places)) < counts[back, None]]
