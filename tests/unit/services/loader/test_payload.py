"""Payloads of the points stream: lines and back, and what cannot be lines."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import WireError
from services.loader import payload as wire
from tests.doubles.loading import lines, payload


def test_a_payload_is_its_lines_and_back() -> None:
    text = lines(100)
    assert wire.decode(payload(text), 100) == text
    assert wire.decode(wire.encode(text), 100) == text
    assert wire.decode(payload(text[:60]) + payload(text[60:]), 100) == text
    wire.check_shape(payload(text), 100)


@pytest.mark.parametrize(
    ("body", "samples", "message"),
    [
        (b"", 1, "not gzip"),
        (b"m value=1 1\n", 1, "not gzip"),
        (gzip.compress(b""), 1, "too few"),
        (gzip.compress(b"m v=1 0\n" * 9), 10, "too few"),
    ],
)
def test_a_payload_that_cannot_be_what_it_should_be_is_found_without_inflating(
    body: bytes, samples: int, message: str
) -> None:
    with pytest.raises(WireError, match=message):
        wire.check_shape(body, samples)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (payload(lines(5))[:-9], "inflated"),
        (payload(lines(5))[:-8] + b"\0" * 8, "inflated"),
        (payload(lines(5)) + b"tail", "inflated"),
        (b"\x1f\x8b\x08" + b"\0" * 40, "inflated"),
        (payload(lines(4)), "holds 4 lines, its entry says 5"),
        (payload([*lines(5), b""]), "holds 6 lines"),
        (gzip.compress(b"m v=1 0"), "line break"),
    ],
)
def test_a_corrupt_payload_is_recognised(body: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        wire.decode(body, 5)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_payload_does_worse_than_a_wire_error(body: bytes, samples: int) -> None:
    for candidate in (body, b"\x1f\x8b\x08" + body, payload(lines(3))[: len(body)]):
        try:
            wire.check_shape(candidate, samples)
            assert len(wire.decode(candidate, samples)) == samples
        except WireError:
            pass
        wire.first_timestamp_ms(candidate)


@pytest.mark.parametrize(
    ("line", "stamp"),
    [
        (b"m value=1 1700000000000", 1_700_000_000_000),
        (b"m value=1 -5", -5),
        (b'm,a=b\\ c s="x y" 7', 7),
        (b"m value=1", None),
        (b"m value=1 12x", None),
        (b"m value=1 ", None),
        (b"m value=1 " + b"9" * 30, None),
        (b"", None),
    ],
)
def test_the_timestamp_of_a_line(line: bytes, stamp: int | None) -> None:
    assert wire.timestamp_ms(line) == stamp
    assert wire.first_timestamp_ms(payload([line, b"m value=1 2"])) == stamp


def test_a_first_line_that_is_longer_than_what_is_inflated_of_it_is_none() -> None:
    """Cut short it could be a line too, of another time."""
    long = b"m,n=" + b"x" * 65_500 + b" value=1 1700000000000000000000000"
    assert wire.first_line(payload([long, b"m value=1 2"])) is None
    assert wire.first_line(payload([b"m value=1 2", long])) == b"m value=1 2"
