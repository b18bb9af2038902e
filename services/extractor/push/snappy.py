"""Snappy's block format (``format_description.txt`` of snappy), as remote write compresses."""

from __future__ import annotations

from services.extractor.push.bad_request import BadRequest

# No element makes more of its bytes: a copy of 64 is written in three.
MOST_RATIO = 22
_LONGEST_LENGTH_BYTES = 5


def uncompress(block: bytes, most_bytes: int) -> bytes:
    """What a block holds.

    Raises :class:`BadRequest` for what is no block, and, before anything is unpacked, for one that
    says that it holds more than ``most_bytes``, or more than its own bytes can.
    """
    try:
        length_bytes, position = _length(block)
        if length_bytes > most_bytes:
            raise BadRequest(f"the body unpacks to {length_bytes} bytes: {most_bytes} are taken")
        if length_bytes > MOST_RATIO * len(block):
            raise _damaged("it cannot hold what it says")
        return _elements(block, position, length_bytes)
    except IndexError:
        raise _damaged("it is cut off") from None


def _length(block: bytes) -> tuple[int, int]:
    length = 0
    for position in range(_LONGEST_LENGTH_BYTES):
        byte = block[position]
        length |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return length, position + 1
    raise _damaged("its length has no end")


def _elements(block: bytes, position: int, length_bytes: int) -> bytes:
    unpacked, end = bytearray(), len(block)
    written = 0
    while position < end:
        tag = block[position]
        kind = tag & 3
        if kind == 0:
            size = (tag >> 2) + 1
            position += 1
            if size > 60:
                first, position = position, position + size - 60
                size = int.from_bytes(block[first:position], "little") + 1
            if position + size > end:
                raise _damaged("it is cut off")
            unpacked += block[position : position + size]
            position += size
        else:
            if kind == 1:
                size, offset = 4 + (tag >> 2 & 7), tag >> 5 << 8 | block[position + 1]
                position += 2
            elif kind == 2:
                size, offset = (tag >> 2) + 1, block[position + 1] | block[position + 2] << 8
                position += 3
            else:
                size = (tag >> 2) + 1
                offset = int.from_bytes(block[position + 1 : position + 5], "little")
                position += 5
            first = written - offset
            if first < 0 or not offset:
                raise _damaged("it refers to what is not there")
            if offset >= size:
                unpacked += unpacked[first : first + size]
            else:  # what it copies goes on into the copy
                unpacked += (unpacked[first:] * (size // offset + 1))[:size]
        written += size
        if written > length_bytes:
            raise _damaged("it holds more than it says")
    if written != length_bytes or position != end:
        raise _damaged("it is cut off")
    return bytes(unpacked)


def _damaged(why: str) -> BadRequest:
    return BadRequest(f"the body is no snappy block: {why}")
