"""Protocol Buffers by hand: what was written is read, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.source.protobuf import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Malformed,
    inside,
    message,
    skipped,
    uvarint,
    written_uvarint,
)


@given(st.integers(0, (1 << 64) - 1))
def test_a_number_is_read_as_it_was_written(number: int) -> None:
    written = written_uvarint(number)

    assert uvarint(b"x" + written + b"x", 1) == (number, 1 + len(written))


def test_of_a_number_64_bits_count() -> None:
    assert uvarint(b"\xff" * 9 + b"\x7f", 0) == ((1 << 64) - 1, 10)


def test_a_number_without_an_end() -> None:
    with pytest.raises(IndexError):
        uvarint(b"\xff" * 5, 0)
    with pytest.raises(Malformed, match="a number has no end"):
        uvarint(b"\xff" * 20, 0)


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        (VARINT, b"\x80\x01"),
        (LENGTH, message(1, b"text")[1:]),
        (FIXED64, b"12345678"),
        (FIXED32, b"1234"),
    ],
)
def test_a_field_is_passed_over(kind: int, written: bytes) -> None:
    assert skipped(written, 0, kind, len(written)) == len(written)
    with pytest.raises(Malformed, match="a field ends behind what it is in"):
        skipped(written, 0, kind, len(written) - 1)


def test_kinds_that_nobody_writes_any_more() -> None:
    with pytest.raises(Malformed, match="a field of kind 3"):
        skipped(b"", 0, 3, 0)


def test_what_ends_within() -> None:
    assert inside(3, 3) == 3
    with pytest.raises(Malformed):
        inside(4, 3)
