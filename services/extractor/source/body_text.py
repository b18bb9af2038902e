"""A JSON document read as it arrives: a cursor over the chunks of a body.

Only what the cursor has not passed is kept, so that a document of any size needs the memory of its
largest value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from common.errors import QueryTooLarge, SourceUnavailable
from services.extractor.source_errors import snippet

# No single value of an honest response comes near this; a broken one must not fill the memory.
MAX_VALUE_BYTES = 64 << 20

_SPACE = b" \t\n\r"
_FIRST_TRY_BYTES = 64 << 10


def _no_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


# Python refuses to make an int of very many digits.
_DECODER = json.JSONDecoder(parse_int=float, parse_constant=_no_constant)


class BodyText:
    """A cursor over a JSON document that comes in chunks.

    ``buffer[position:]`` is what has arrived and was not passed yet. ``base`` is the offset of
    ``buffer`` in the document, for messages. Whatever the chunk iterator raises passes through.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.buffer = b""
        self.position = 0
        self.base = 0
        self.ended = False

    @property
    def unread_bytes(self) -> int:
        """How much has arrived and was not passed."""
        return len(self.buffer) - self.position

    @property
    def offset(self) -> int:
        """Where the cursor stands in the document, in bytes."""
        return self.base + self.position

    def fill(self, wanted_bytes: int) -> bool:
        """Read on until ``wanted_bytes`` are unread; False when the body ended before."""
        missing = wanted_bytes - self.unread_bytes
        if missing <= 0:
            return True
        pieces = [self.buffer[self.position :]]
        while missing > 0 and not self.ended:
            chunk = next(self._chunks, None)
            if chunk is None:
                self.ended = True
            else:
                pieces.append(chunk)
                missing -= len(chunk)
        self.base += self.position
        self.position = 0
        self.buffer = b"".join(pieces)
        return missing <= 0

    def cut(self, start: int, end: int) -> None:
        """Take ``buffer[start:end]`` out of what is unread, as if it had never been there."""
        self.base += end - start
        self.buffer = self.buffer[:start] + self.buffer[end:]

    def peek(self) -> bytes:
        """The next byte that is not white space, left in place."""
        while True:
            while self.position < len(self.buffer):
                byte = self.buffer[self.position : self.position + 1]
                if byte not in _SPACE:
                    return byte
                self.position += 1
            if not self.fill(1):
                self.fail_truncated()

    def take(self, expected: bytes) -> bytes:
        """Pass the next byte; it must be one of ``expected``."""
        byte = self.peek()
        if byte not in expected:
            self.fail_malformed()
        self.position += 1
        return byte

    def value_bytes(self) -> bytes:
        """Pass one JSON value of any kind and return its bytes.

        Raises :class:`SourceUnavailable` where there is none, :class:`QueryTooLarge` for one that
        is larger than ``MAX_VALUE_BYTES``.
        """
        self.peek()
        tried_bytes = _FIRST_TRY_BYTES
        while True:
            whole = not self.fill(tried_bytes)
            start = self.position
            text = _leading_text(self.buffer[start : start + tried_bytes])
            try:
                _, end = _DECODER.raw_decode(text)
            except json.JSONDecodeError:
                end = 0
            except RecursionError:
                self.fail_malformed()
            # A number may go on in what has not arrived, so it needs something behind it.
            if end and (end < len(text) or whole):
                size = end if text.isascii() else len(text[:end].encode())
                self.position = start + size
                return self.buffer[start : start + size]
            if whole and tried_bytes >= self.unread_bytes:
                self.fail_truncated()
            if tried_bytes > MAX_VALUE_BYTES:
                raise QueryTooLarge(
                    f"answered with a single value of more than {MAX_VALUE_BYTES >> 20} MiB"
                )
            tried_bytes *= 4

    def value(self) -> Any:
        """Pass one JSON value of any kind and return it."""
        return _DECODER.decode(self.value_bytes().decode())

    def members(self) -> Iterator[str]:
        """Pass an object, yielding each key while the cursor stands before its value.

        The caller passes the value.
        """
        self.take(b"{")
        if self.peek() == b"}":
            self.position += 1
            return
        while True:
            if self.peek() != b'"':
                self.fail_malformed()
            key = self.value()
            self.take(b":")
            yield key
            if self.take(b",}") == b"}":
                return

    def finish(self) -> None:
        """Check that nothing follows but white space, and that the body has ended."""
        while self.buffer[self.position :].strip(_SPACE) == b"":
            self.position = len(self.buffer)
            if not self.fill(1):
                return
        self.fail_malformed()

    def fail_truncated(self) -> NoReturn:
        """Raise the error for a document that cannot be read to its end."""
        raise SourceUnavailable(
            f"answered with JSON that is broken or ends in the middle, after byte {self.offset}"
        )

    def fail_malformed(self) -> NoReturn:
        """Raise the error for a document that is not the JSON it ought to be."""
        self.fill(200)
        found = snippet(self.buffer[self.position : self.position + 200])
        if not self.offset:
            raise SourceUnavailable(f"answered with something other than a JSON object: {found}")
        raise SourceUnavailable(f"answered with malformed JSON at byte {self.offset}: {found}")


def _leading_text(content: bytes) -> str:
    """``content`` as text, up to the first byte that is not whole UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        return content[: error.start].decode()
