"""The little of Protocol Buffers that reading an answer needs
(https://protobuf.dev/programming-guides/encoding/).
"""

from __future__ import annotations

from common.source.remote_read.doubt import Doubt

# How a field is written: the last three bits of its tag.
VARINT, LENGTH = 0, 2
# Tags of ``ChunkedReadResponse.chunked_series`` and ``ChunkedSeries.labels`` and ``.chunks``.
SERIES = LABEL = 1 << 3 | LENGTH
CHUNK = 2 << 3 | LENGTH


def inside(position: int, end: int) -> int:
    """``position``, if what ends there lies within what ends at ``end``; else a doubt."""
    if position > end:
        raise Doubt("frame", "sent a frame whose fields do not fit into each other")
    return position


def uvarint(content: bytes, position: int) -> tuple[int, int]:
    """The number at a position, and the position behind it; IndexError where the text ends."""
    byte = content[position]
    if byte < 0x80:
        return byte, position + 1
    number, shift = byte & 0x7F, 7
    while byte >= 0x80:
        position += 1
        byte = content[position]
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise Doubt("frame", "sent a number that has no end")
    return number, position + 1
