"""Snappy blocks: what they hold, and what is no block."""

from __future__ import annotations

import random

import pytest

from services.extractor.push.bad_request import BadRequest
from services.extractor.push.snappy import MOST_RATIO, uncompress
from tests.support.remote_write import snappy, varint

MOST_BYTES = 1 << 20


def literal(content: bytes) -> bytes:
    return bytes([len(content) - 1 << 2]) + content


@pytest.mark.parametrize(
    ("block", "content"),
    [
        (b"\0", b""),
        (b"\x03" + literal(b"abc"), b"abc"),
        # Lengths of literals in one, two, three and four bytes.
        (b"\x03" + bytes([60 << 2, 2]) + b"abc", b"abc"),
        (b"\x03" + bytes([61 << 2, 2, 0]) + b"abc", b"abc"),
        (b"\x03" + bytes([62 << 2, 2, 0, 0]) + b"abc", b"abc"),
        (b"\x03" + bytes([63 << 2, 2, 0, 0, 0]) + b"abc", b"abc"),
        # Copies with offsets of one, two and four bytes; one that goes on into itself.
        (b"\x08" + literal(b"abcd") + bytes([1, 4]), b"abcdabcd"),
        (b"\x07" + literal(b"abcd") + bytes([2 | 2 << 2, 4, 0]), b"abcdabc"),
        (b"\x07" + literal(b"abcd") + bytes([3 | 2 << 2, 4, 0, 0, 0]), b"abcdabc"),
        (b"\x0a" + literal(b"ab") + bytes([1 | 4 << 2, 2]), b"ababababab"),
        (b"\x09" + literal(b"abcd") + bytes([1 | 1 << 2, 3]), b"abcdbcdbc"),
    ],
)
def test_what_a_block_holds(block: bytes, content: bytes) -> None:
    assert uncompress(block, MOST_BYTES) == content


def test_what_was_compressed_is_there_again() -> None:
    rng = random.Random(3)
    for size in (0, 1, 3, 4, 5, 63, 64, 65, 300, 70_000):
        content = bytes(rng.choice(b"abcd") for _ in range(size))
        assert uncompress(snappy(content), MOST_BYTES) == content


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"", "its length has no end"),
        (b"\xff\xff\xff\xff\xff\x01", "its length has no end"),
        (b"\x03" + literal(b"ab"), "expected 3 decompressed bytes but got 2"),
        (b"\x03" + literal(b"abc")[:-1], "expected literal read of length 3"),
        (b"\x03" + bytes([61 << 2, 2]), "expected literal read of length 4"),
        (b"\x03" + literal(b"abcd"), "expected literal read of length 4"),
        (b"\x03" + literal(b"abc") + b"x", "expected literal read"),
        (b"\x08" + literal(b"abcd") + bytes([1, 5]), "expected valid offset but got offset 5"),
        (b"\x08" + literal(b"abcd") + bytes([1, 0]), "expected valid offset but got offset 0"),
        (b"\x08" + literal(b"abcd") + bytes([1]), "expected copy read of length 1"),
        (b"\x08" + literal(b"abcd") + bytes([2, 4]), "expected copy read of length 2"),
        (varint(200) + literal(b"abcd"), "it cannot hold what it says"),
    ],
)
def test_what_is_no_block_says_why(block: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=f"no snappy block: .*{why}"):
        uncompress(block, MOST_BYTES)


def test_a_bomb_is_refused_by_what_it_says() -> None:
    with pytest.raises(BadRequest, match="unpacks to 4294967295 bytes: 1048576 are taken"):
        uncompress(varint((1 << 32) - 1) + b"\0" * 100, MOST_BYTES)


def test_nothing_real_is_above_the_ratio() -> None:
    content = b"a" * MOST_BYTES
    block = snappy(content)

    assert len(content) / len(block) < MOST_RATIO
    assert uncompress(block, MOST_BYTES) == content
    for cut in range(0, len(block), 997):
        with pytest.raises(BadRequest):
            uncompress(block[:cut], MOST_BYTES)
