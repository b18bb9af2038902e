"""The body of a request: of a length that is said before, or in chunks (RFC 9112, 7.1)."""

from __future__ import annotations

import re
from email.message import Message
from http import HTTPStatus
from typing import BinaryIO

# Of a body that is too large, so that its sender reads the response: so much, or so many times what
# is taken.
_SKIPPED_BYTES = 1 << 20
_SKIPPED_TIMES = 4
_PIECE_BYTES = 65_536
# A chunk's size with its extensions, or a trailer; and how many trailers are passed over.
_LINE_BYTES = 256
_MOST_TRAILERS = 16
# Each chunk costs time before anybody has shown a password: so many are taken, and one more for so
# many bytes.
_CHUNKS_AT_LEAST, _CHUNK_BYTES = 1000, 64
_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(;.*)?\r?\n", re.DOTALL)


class NoBody(Exception):
    """What is wrong with a body, and the status that says so."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


def read_body(stream: BinaryIO, headers: Message, max_bytes: int) -> bytes:
    """The whole body; raises :class:`NoBody`, also for one above ``max_bytes``."""
    if headers.get("Transfer-Encoding", "").strip().lower() == "chunked":
        return _of_chunks(stream, max_bytes)
    given = headers.get("Content-Length", "")
    if not (given.isascii() and given.isdigit()):
        raise NoBody(HTTPStatus.LENGTH_REQUIRED, "say how long the body is")
    # The number of digits first: nobody should have to read a million of them.
    length_bytes = int(given) if len(given) < 10 else 10**10
    if length_bytes > max_bytes:
        _skip(stream, min(length_bytes, _most_skipped_bytes(max_bytes)))
        raise _too_large(max_bytes)
    body = stream.read(length_bytes)
    if len(body) != length_bytes:
        raise NoBody(HTTPStatus.BAD_REQUEST, "the body is cut off")
    return body


def _of_chunks(stream: BinaryIO, max_bytes: int) -> bytes:
    body, sent_bytes, chunks = bytearray(), 0, 0
    while size_bytes := _size(stream):
        sent_bytes += size_bytes
        chunks += 1
        if chunks > _CHUNKS_AT_LEAST + max_bytes // _CHUNK_BYTES:
            raise NoBody(HTTPStatus.BAD_REQUEST, "the body is sent in too many chunks")
        if sent_bytes > _most_skipped_bytes(max_bytes):
            raise _too_large(max_bytes)
        if sent_bytes > max_bytes:
            _skip(stream, size_bytes)
        else:
            body += stream.read(size_bytes)
        if stream.readline(3) not in (b"\r\n", b"\n"):
            raise NoBody(HTTPStatus.BAD_REQUEST, "a chunk of the body does not end where it should")
    if sent_bytes > max_bytes:
        raise _too_large(max_bytes)
    for _ in range(_MOST_TRAILERS):
        if stream.readline(_LINE_BYTES) in (b"\r\n", b"\n", b""):
            break
    return bytes(body)


def _size(stream: BinaryIO) -> int:
    """That of the next chunk; the last one is empty."""
    found = _SIZE.fullmatch(stream.readline(_LINE_BYTES))
    if found is None:
        raise NoBody(HTTPStatus.BAD_REQUEST, "the size of a chunk of the body cannot be read")
    return int(found[1], 16)


def _skip(stream: BinaryIO, left_bytes: int) -> None:
    while left_bytes > 0 and (skipped := stream.read(min(left_bytes, _PIECE_BYTES))):
        left_bytes -= len(skipped)


def _most_skipped_bytes(max_bytes: int) -> int:
    return max(_SKIPPED_BYTES, _SKIPPED_TIMES * max_bytes)


def _too_large(max_bytes: int) -> NoBody:
    return NoBody(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is above {max_bytes} bytes")
