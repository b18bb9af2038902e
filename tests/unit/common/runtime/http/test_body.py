"""Bodies of requests, whole and in chunks, and what is wrong with others."""

from __future__ import annotations

import io
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime.http.body import NoBody, read_body

MAX_BYTES = 10


def read(sent: bytes, max_bytes: int = MAX_BYTES, **given: str) -> bytes:
    headers = Message()
    for name, value in given.items():
        headers[name.replace("_", "-")] = value
    return read_body(io.BytesIO(sent), headers, max_bytes)


def in_chunks(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def test_a_body_of_a_length() -> None:
    assert read(b"1234567", Content_Length="5") == b"12345"
    assert read(b"", Content_Length="0") == b""


def test_a_body_in_chunks() -> None:
    assert read(in_chunks(b"123", b"45"), Transfer_Encoding="Chunked") == b"12345"
    assert read(in_chunks(), Transfer_Encoding="chunked") == b""
    # What nobody here needs, and some may send.
    extended = b'3;name="a"\r\n123\r\n0\r\nTrailer: x\r\n\r\n'
    assert read(extended, Transfer_Encoding="chunked") == b"123"


@pytest.mark.parametrize(
    ("sent", "given", "status", "why"),
    [
        (b"12345", {}, 411, "say how long the body is"),
        (b"12345", {"Content_Length": "-5"}, 411, "say how long the body is"),
        (b"12345", {"Content_Length": "6"}, 400, "the body is cut off"),
        (b"1" * 11, {"Content_Length": "11"}, 413, "the body is above 10 bytes"),
        (b"1" * 11, {"Content_Length": "1" * 5000}, 413, "the body is above 10 bytes"),
        (b"12345", {"Transfer_Encoding": "chunked"}, 400, "size of a chunk"),
        (b"-1\r\n1\r\n0\r\n\r\n", {"Transfer_Encoding": "chunked"}, 400, "size of a chunk"),
        (b"1" * 300 + b"\r\n", {"Transfer_Encoding": "chunked"}, 400, "size of a chunk"),
        (b"", {"Transfer_Encoding": "chunked"}, 400, "size of a chunk"),
        (b"2\r\n123\r\n0\r\n\r\n", {"Transfer_Encoding": "chunked"}, 400, "does not end"),
        (b"3\r\n12", {"Transfer_Encoding": "chunked"}, 400, "does not end"),
        (in_chunks(*[b"1"] * 1001), {"Transfer_Encoding": "chunked"}, 400, "too many chunks"),
        (in_chunks(b"123456", b"78901"), {"Transfer_Encoding": "chunked"}, 413, "above 10 bytes"),
        (b"ffffffff\r\n1", {"Transfer_Encoding": "chunked"}, 413, "above 10 bytes"),
    ],
)
def test_what_is_wrong_is_said(sent: bytes, given: dict[str, str], status: int, why: str) -> None:
    with pytest.raises(NoBody, match=why) as raised:
        read(sent, MAX_BYTES, **given)
    assert raised.value.status == status


def test_a_body_that_is_too_large_is_read_so_that_the_response_is() -> None:
    for sent, header in (
        (b"1" * 3000, {"Content-Length": "3000"}),
        (in_chunks(*[b"1" * 100] * 30), {"Transfer-Encoding": "chunked"}),
    ):
        stream, headers = io.BytesIO(sent), Message()
        for name, value in header.items():
            headers[name] = value
        with pytest.raises(NoBody):
            read_body(stream, headers, MAX_BYTES)
        assert len(stream.read()) < 5


@given(st.lists(st.binary(min_size=1, max_size=50)))
def test_any_chunks_are_put_together(chunks: list[bytes]) -> None:
    assert read(in_chunks(*chunks), 10_000, Transfer_Encoding="chunked") == b"".join(chunks)


@given(st.binary(max_size=60))
def test_anything_else_is_no_body(sent: bytes) -> None:
    try:
        found = read(sent, Transfer_Encoding="chunked")
    except NoBody:
        return
    assert len(found) <= MAX_BYTES
