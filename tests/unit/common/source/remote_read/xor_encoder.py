"""A plain encoder of XOR chunks, bit by bit as ``tsdb/chunkenc/xor.go`` of Prometheus does it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tests.support.remote_write import varint

Sample = tuple[int, int]  # ms, bits of the value

SIZES = ((14, "10"), (17, "110"), (20, "1110"))
STALE_BITS = 0x7FF0_0000_0000_0002


def bits_of(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def zigzag(number: int) -> bytes:
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


class _Bits:
    def __init__(self) -> None:
        self.text: list[str] = []

    def add(self, number: int, bits: int) -> None:
        if bits:
            self.text.append(f"{number & (1 << bits) - 1:0{bits}b}")

    def content(self) -> bytes:
        text = "".join(self.text)
        text += "0" * (-len(text) % 8)
        return int(text or "0", 2).to_bytes(len(text) // 8, "big")


def encode(samples: Sequence[Sample]) -> bytes:
    bits = _Bits()
    head = struct.pack(">H", len(samples))
    leading, trailing = 0xFF, 0
    for number, (ms, value) in enumerate(samples):
        if number == 0:
            head += zigzag(ms) + struct.pack(">Q", value)
            continue
        before_ms, before = samples[number - 1]
        if number == 1:
            head += varint(ms - before_ms)
        else:
            _add_distance(bits, ms - 2 * before_ms + samples[number - 2][0])
        leading, trailing = _add_value(bits, value ^ before, leading, trailing)
    return head + bits.content()


def _add_distance(bits: _Bits, differs: int) -> None:
    if differs == 0:
        bits.add(0, 1)
        return
    for size, prefix in SIZES:
        if -(1 << size - 1) < differs <= 1 << size - 1:
            bits.add(int(prefix, 2), len(prefix))
            bits.add(differs, size)
            return
    bits.add(0b1111, 4)
    bits.add(differs, 64)


def _add_value(bits: _Bits, differs: int, leading: int, trailing: int) -> tuple[int, int]:
    if differs == 0:
        bits.add(0, 1)
        return leading, trailing
    new_leading = min(31, 64 - differs.bit_length())
    new_trailing = (differs & -differs).bit_length() - 1
    if leading != 0xFF and new_leading >= leading and new_trailing >= trailing:
        bits.add(0b10, 2)
        bits.add(differs >> trailing, 64 - leading - trailing)
        return leading, trailing
    significant = 64 - new_leading - new_trailing
    bits.add(0b11, 2)
    bits.add(new_leading, 5)
    bits.add(significant & 63, 6)
    bits.add(differs >> new_trailing, significant)
    return new_leading, new_trailing
