"""CRC-32C of many messages at once, by tables in numpy.

The checksum (Castagnoli's polynomial, RFC 3720) is linear: a message's is the sum, without carry,
of what each of its bytes adds, which depends on the byte and on how many follow it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = np.uint32(0x82F63B78)  # reflected
_BLOCK_BYTES = 128
_INVERTED = np.uint32(0xFFFFFFFF)

Sums = NDArray[np.uint32]


def _byte_table() -> Sums:
    table: Sums = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = table >> np.uint32(1) ^ (table & np.uint32(1)) * _POLYNOMIAL
    return table


_BYTES = _byte_table()


def _followed(sums: Sums) -> Sums:
    """What is left of sums once a byte of zeros follows."""
    return _BYTES.take(sums & np.uint32(0xFF)) ^ sums >> np.uint32(8)


def _block_tables() -> tuple[Sums, list[Sums]]:
    """What each byte of a block adds, by its place; what a block makes of each byte of a sum."""
    of_place = np.empty((_BLOCK_BYTES, 256), np.uint32)
    of_place[-1] = _BYTES
    for place in range(_BLOCK_BYTES - 2, -1, -1):
        of_place[place] = _followed(of_place[place + 1])
    of_sum = [np.arange(256, dtype=np.uint32) << np.uint32(8 * byte) for byte in range(4)]
    for _ in range(_BLOCK_BYTES):
        of_sum = [_followed(table) for table in of_sum]
    return of_place, of_sum


_OF_PLACE, _OF_SUM = _block_tables()


def crc32c(messages: Sequence[bytes | memoryview]) -> Sums:
    """The checksum of each message; uint32[len(messages)]. Messages have four bytes at least."""
    lengths = np.array([len(message) for message in messages], np.int64)
    blocks = -(-lengths // _BLOCK_BYTES)
    ends = np.cumsum(blocks)
    # Zeros before a message add nothing, once its first four bytes are inverted.
    parts: list[bytes | memoryview] = []
    for message, padding in zip(messages, (blocks * _BLOCK_BYTES - lengths).tolist(), strict=True):
        parts.append(bytes(padding))
        parts.append(message)
    text = np.frombuffer(bytearray().join(parts), np.uint8)
    begins = ends * _BLOCK_BYTES - lengths
    for byte in range(4):
        text[begins + byte] ^= 0xFF
    sums = np.zeros(len(text) // _BLOCK_BYTES, np.uint32)
    for table, place in zip(
        _OF_PLACE, np.ascontiguousarray(text.reshape(-1, _BLOCK_BYTES).T), strict=True
    ):
        sums ^= table.take(place)
    return _joined(sums, ends - blocks, blocks) ^ _INVERTED


def _joined(sums: Sums, firsts: NDArray[np.int64], blocks: NDArray[np.int64]) -> Sums:
    """The sum of each message, of those of its blocks."""
    order = np.argsort(-blocks, kind="stable")
    firsts, blocks = firsts[order], blocks[order]
    joined = sums[firsts]
    for number in range(1, int(blocks[0])):
        going = int(np.searchsorted(-blocks, -number, "left"))
        before = joined[:going]
        after = sums[firsts[:going] + number]
        for byte, table in enumerate(_OF_SUM):
            after ^= table.take(before >> np.uint32(8 * byte) & np.uint32(0xFF))
        joined[:going] = after
    found = np.empty_like(joined)
    found[order] = joined
    return found
