"""Members that are joined are one member, with the content of all."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.samples.gzip_join import (
    crc32_combine,
    is_joinable,
    join,
    joinable_member,
    mark_of,
    marked,
)
from services.transformer.line_protocol import gzip_member

GZIP_WBITS = 31


def member(*lines: bytes) -> bytes:
    return gzip_member(iter([b"\n" + line for line in lines]), lines)


def content_of_one_member(body: bytes) -> bytes:
    inflater = zlib.decompressobj(GZIP_WBITS)
    content = inflater.decompress(body)
    assert inflater.eof, "it checks the CRC and the length too"
    assert inflater.unused_data == b"", "a server that reads one member reads all"
    return content


LINES = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=50)


@given(st.lists(LINES, min_size=1, max_size=8))
def test_one_member_with_the_content_of_all(parts: list[list[bytes]]) -> None:
    members = [member(*lines) for lines in parts]

    assert all(map(is_joinable, members))
    assert content_of_one_member(join(members)) == b"".join(
        line + b"\n" for lines in parts for line in lines
    )


def test_members_of_many_chunks_and_of_every_window() -> None:
    parts = [
        [b"m value=%d 1" % number for number in range(60_000)],
        [b"m,a=%s value=%d 1" % (b"x" * 300, number) for number in range(3_000)],
        [b"y" * 70_000, b"z"],
    ]
    members = [member(*lines) for lines in parts]

    assert content_of_one_member(join(members)) == b"".join(map(gzip.decompress, members))


def test_what_is_joined_has_a_plain_header() -> None:
    assert (
        join([member(b"m v=1 1")])[:10] == gzip.compress(b"", 1, mtime=0)[:3] + bytes(6) + b"\xff"
    )


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_the_crc_of_two_texts(first: bytes, second: bytes) -> None:
    combined = crc32_combine(zlib.crc32(first), zlib.crc32(second), len(second))

    assert combined == zlib.crc32(first + second)


def test_the_crc_of_a_long_text() -> None:
    zeros = bytes(50_000_001)

    assert crc32_combine(zlib.crc32(b"abc"), zlib.crc32(zeros), len(zeros)) == zlib.crc32(
        b"abc" + zeros
    )


def test_other_members_are_not_joinable() -> None:
    assert not is_joinable(gzip.compress(b"m v=1 1\n", 1, mtime=0))
    assert not is_joinable(member(b"m v=1 1")[:-1])
    assert not is_joinable(b"")
    with pytest.raises(ValueError, match="flush"):
        joinable_member(gzip.compress(b"m v=1 1\n", 1, mtime=0))


@given(st.integers(0, 2**32 - 1), LINES)
def test_a_mark_changes_nothing_else(mark: int, lines: list[bytes]) -> None:
    plain = member(*lines)
    one = marked(plain, mark)
    assert is_joinable(one)
    assert (mark_of(one), mark_of(plain)) == (mark, 0)
    assert gzip.decompress(one) == gzip.decompress(plain)
    assert join([one, plain]) == join([plain, plain])


def test_the_time_of_another_gzip_file_is_no_mark() -> None:
    assert mark_of(gzip.compress(b"m v=1 1\n", 1, mtime=7)) == 0
    assert mark_of(b"") == 0
