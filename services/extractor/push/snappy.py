"""Snappy's block format (``format_description.txt`` of snappy), as remote write compresses."""

from __future__ import annotations

import cramjam

from services.extractor.push.bad_request import BadRequest

# No element makes more of its bytes: a copy of 64 is written in three.
MOST_RATIO = 22
_LONGEST_LENGTH_BYTES = 5


def uncompress(block: bytes, most_bytes: int) -> bytes:
    """What a block holds.

    Raises :class:`BadRequest` for what is no block, and, before anything is unpacked, for one that
    says that it holds more than ``most_bytes``, or more than its own bytes can.
    """
    length_bytes = _length(block)
    if length_bytes > most_bytes:
        raise BadRequest(f"the body unpacks to {length_bytes} bytes: {most_bytes} are taken")
    if length_bytes > MOST_RATIO * len(block):
        raise _damaged("it cannot hold what it says")
    try:
        return bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as error:
        raise _damaged(str(error)) from None


def _length(block: bytes) -> int:
    length = 0
    for position, byte in enumerate(block[:_LONGEST_LENGTH_BYTES]):
        length |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return length
    raise _damaged("its length has no end")


def _damaged(why: str) -> BadRequest:
    return BadRequest(f"the body is no snappy block: {why}")
