"""A JSON document read as it arrives: a cursor over the chunks of a body.

Only what the cursor has not passed is kept, so that a document of any size, or without an end,
needs the memory of its largest value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from common.errors import QueryTooLarge, SourceUnavailable
from common.source.errors import snippet

# No series of an honest response comes near this; a broken one must not fill the memory. What it
# is decoded to takes some twenty times as much.
MAX_VALUE_BYTES = 16 << 20
# What a response says beside its series, keys and all; it is kept until the end.
MAX_REST_BYTES = 1 << 20

_SPACE = b" \t\n\r"
_NO_SPACE = re.compile(rb"[^ \t\n\r]")
_FIRST_TRY_BYTES = 4 << 10


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
        self._rest_bytes = 0

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
            if found := _NO_SPACE.search(self.buffer, self.position):
                self.position = found.start()
                return found[0]
            self.position = len(self.buffer)
            if not self.fill(1):
                self.fail_truncated()

    def take(self, expected: bytes) -> bytes:
        """Pass the next byte; it must be one of ``expected``."""
        byte = self.peek()
        if byte not in expected:
            self.fail_malformed()
        self.position += 1
        return byte

    def value_bytes(self, limit_bytes: int | None = None) -> bytes:
        """Pass one JSON value of any kind and return its bytes.

        Raises :class:`SourceUnavailable` where there is none, :class:`QueryTooLarge` for one that
        is larger than ``limit_bytes`` (``MAX_VALUE_BYTES``).
        """
        limit_bytes = MAX_VALUE_BYTES if limit_bytes is None else limit_bytes
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
            if tried_bytes >= limit_bytes:
                raise QueryTooLarge(
                    f"answered with a single value of more than {limit_bytes} bytes"
                )
            tried_bytes = min(4 * tried_bytes, limit_bytes)

    def value(self) -> Any:
        """Pass one JSON value of any kind and return it.

        Raises :class:`QueryTooLarge` once all of them together exceed ``MAX_REST_BYTES``.
        """
        text = self.value_bytes(MAX_REST_BYTES)
        self._rest_bytes += len(text)
        if self._rest_bytes > MAX_REST_BYTES:
            raise QueryTooLarge(f"answered with more than {MAX_REST_BYTES} bytes beside its series")
        return _DECODER.decode(text.decode())

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
