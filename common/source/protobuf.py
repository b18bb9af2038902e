"""The little of Protocol Buffers that reading and writing by hand need
(https://protobuf.dev/programming-guides/encoding/).

What reads raises ``IndexError`` where the text ends too early.
"""

from __future__ import annotations

from collections.abc import Container

# How a field is written: the last three bits of its tag.
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
# Numbers of one byte, which nearly all are.
_SHORT = [bytes([number]) for number in range(0x80)]


class Malformed(ValueError):
    """What is no message; says why, as a clause."""


def inside(position: int, end: int) -> int:
    """``position``, if what ends there lies within what ends at ``end``."""
    if position > end:
        raise Malformed("a field ends behind what it is in")
    return position


def uvarint(content: bytes, position: int) -> tuple[int, int]:
    """The number at a position, of which 64 bits count, and the position behind it."""
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
            raise Malformed("a number has no end")
    return number & (1 << 64) - 1, position + 1


def skipped(content: bytes, position: int, kind: int, end: int) -> int:
    """The position behind a field that is not read, of which the tag was."""
    if kind == VARINT:
        _, position = uvarint(content, position)
    elif kind == LENGTH:
        length, position = uvarint(content, position)
        position += length
    elif kind in (FIXED64, FIXED32):
        position += 8 if kind == FIXED64 else 4
    else:
        raise Malformed(f"a field of kind {kind}")
    return inside(position, end)


def check_passed_over(tag: int, known: Container[int]) -> None:
    """Raise :class:`Malformed` if a field that is not read is one of those ``known``.

    It is written in another way than it should be, and must not be taken for left out.
    """
    if tag >> 3 in known:
        raise Malformed(f"field {tag >> 3} is written in another way")


def written_uvarint(number: int) -> bytes:
    """A number of no sign."""
    if number < 0x80:
        return _SHORT[number]
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


def message(field: int, content: bytes) -> bytes:
    """A field that holds text, or a message."""
    return written_uvarint(field << 3 | LENGTH) + written_uvarint(len(content)) + content
