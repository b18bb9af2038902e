"""Gzip members that can be joined into one without being inflated.

Several members one after the other are one gzip file (RFC 1952), but not every server reads past
the first: InfluxDB 3 answers 204 and forgets the rest. A body must therefore be one member. The
deflate blocks of members (RFC 1951) can stand one after the other under one header, if each
member's blocks end at a byte's edge and none but the very last is marked as final. That cannot be
seen without inflating; so the members made for it say so in their header, with a subfield of its
extra field, and end in a flush and the empty final block.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_PLAIN_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
# FLG.FEXTRA; the extra field is one subfield, `PJ`, without data.
_JOINABLE_HEADER = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x04\x00PJ\x00\x00"
_TIME = slice(4, 8)  # MTIME
_FLUSHED = b"\x00\x00\xff\xff"  # the end of the empty stored block that a flush writes
_FINAL_BLOCK = b"\x03\x00"  # empty, with fixed codes
_TRAILER = struct.Struct("<II")  # CRC-32 and length of the content, modulo 2^32
_END_BYTES = len(_FINAL_BLOCK) + _TRAILER.size

# CRC-32 as a polynomial over GF(2), bits reflected: the highest bit is the coefficient of x^0.
_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31


def joinable_member(member: bytes) -> bytes:
    """A plain gzip member that ends in a flush and an empty final block, marked as such.

    Raises :class:`ValueError` for any other.
    """
    if not (member.startswith(_PLAIN_HEADER) and _ends_flushed(member)):
        raise ValueError("not a plain gzip member that ends in a flush")
    return _JOINABLE_HEADER + member[len(_PLAIN_HEADER) :]


def is_joinable(member: bytes) -> bool:
    """Whether it was made by :func:`joinable_member`."""
    header = member[: _TIME.start] + bytes(4) + member[_TIME.stop : len(_JOINABLE_HEADER)]
    return header == _JOINABLE_HEADER and _ends_flushed(member)


def marked(member: bytes, mark: int) -> bytes:
    """A joinable member with a number of 32 bits in its header, where gzip has a file's time."""
    return member[: _TIME.start] + mark.to_bytes(4, "little") + member[_TIME.stop :]


def mark_of(member: bytes) -> int:
    """The number that a joinable member is marked with; 0 where there is none."""
    return int.from_bytes(member[_TIME], "little") if is_joinable(member) else 0


def join(members: Iterable[bytes]) -> bytes:
    """One plain gzip member with the content of joinable ones; nothing is inflated."""
    blocks: list[bytes | memoryview] = [_PLAIN_HEADER]
    crc, length_bytes = 0, 0
    for member in members:
        blocks.append(memoryview(member)[len(_JOINABLE_HEADER) : -_END_BYTES])
        next_crc, next_bytes = _TRAILER.unpack_from(member, len(member) - _TRAILER.size)
        crc = crc32_combine(crc, next_crc, next_bytes) if length_bytes else next_crc
        length_bytes += next_bytes
    blocks.append(_FINAL_BLOCK)
    blocks.append(_TRAILER.pack(crc, length_bytes & 0xFFFFFFFF))
    return b"".join(blocks)


def crc32_combine(first: int, second: int, second_bytes: int) -> int:
    """The CRC-32 of two texts, one after the other, from theirs and the length of the second.

    The first's is moved over the second's bits: multiplied by x^(8 n) modulo the polynomial.
    """
    return _multiply(_power_of_x(8 * second_bytes), first) ^ second


def _multiply(a: int, b: int) -> int:
    """The product of two polynomials modulo the CRC's."""
    product, bit = 0, _ONE
    while bit:
        if a & bit:
            product ^= b
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
        bit >>= 1
    return product


def _squares() -> list[int]:
    """x^(2^k) for k = 0, 1, …, as far as lengths of 32 bits need."""
    found = [_ONE >> 1]
    while len(found) < 36:
        found.append(_multiply(found[-1], found[-1]))
    return found


_SQUARES = _squares()


def _power_of_x(exponent: int) -> int:
    power, k = _ONE, 0
    while exponent:
        if exponent & 1:
            power = _multiply(_SQUARES[k], power)
        exponent >>= 1
        k += 1
    return power


def _ends_flushed(member: bytes) -> bool:
    end = len(member) - _END_BYTES
    return member[end - len(_FLUSHED) : end + len(_FINAL_BLOCK)] == _FLUSHED + _FINAL_BLOCK
