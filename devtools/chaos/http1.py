"""As much of HTTP/1.1 as a fault proxy needs: whole messages in, whole messages out (RFC 9112)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

# The servers behind the proxy repeat refused lines in a header.
HEAD_MAX_BYTES = 1 << 20

_BODILESS = frozenset({204, 304})


class BrokenMessage(Exception):
    """The peer ended in the middle of a message, or sent something else than HTTP."""


@dataclass(slots=True)
class Message:
    """A request or a response; names of ``headers`` are lower case."""

    start: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for known, value in self.headers if known == name), None)

    @property
    def target(self) -> str:
        """Path and query of a request."""
        return self.start.split(" ")[1]

    @property
    def method(self) -> str:
        """Method of a request."""
        return self.start.split(" ", 1)[0]

    @property
    def status(self) -> int:
        """Status of a response."""
        return int(self.start.split(" ", 2)[1])

    def head(self, *, body_bytes: int | None = None) -> bytes:
        """Start line and headers, with the length of the body (or a false one) as its framing."""
        kept = [pair for pair in self.headers if pair[0] not in _FRAMING]
        length = len(self.body) if body_bytes is None else body_bytes
        if length or self.start.startswith(("HTTP/", "POST ")):
            kept.append(("content-length", str(length)))
        lines = [self.start, *(f"{name}: {value}" for name, value in kept)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def encode(self) -> bytes:
        """The whole message."""
        if self.start.startswith("HTTP/") and self.status in _BODILESS:
            kept = [pair for pair in self.headers if pair[0] not in _FRAMING]
            return Message(self.start, kept).bodiless()
        return self.head() + self.body

    def bodiless(self) -> bytes:
        """Start line and headers of a message that has no body by definition."""
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


_FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive"})


async def read_head(reader: asyncio.StreamReader) -> Message | None:
    """The head of the next message; None when the peer closed the connection between messages."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise BrokenMessage("the peer ended in the middle of a head") from None
        return None
    except asyncio.LimitOverrunError as error:
        raise BrokenMessage(f"a head of more than {HEAD_MAX_BYTES} bytes") from error
    start, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BrokenMessage(f"no header: {line[:80]!r}")
        headers.append((name.strip().lower(), value.strip()))
    if start.count(" ") < 1:
        raise BrokenMessage(f"no start line: {start[:80]!r}")
    return Message(start, headers)


async def read_body(
    reader: asyncio.StreamReader, message: Message, *, answer_to: str | None = None
) -> None:
    """Read the body that belongs to ``message`` into it; ``answer_to`` is the request's method."""
    try:
        if answer_to is not None and (answer_to == "HEAD" or message.status in _BODILESS):
            return
        if (message.header("transfer-encoding") or "").lower() == "chunked":
            message.body = await _chunks(reader)
        elif (length := message.header("content-length")) is not None:
            message.body = await reader.readexactly(int(length))
        elif answer_to is not None:
            message.body = await reader.read()
    except asyncio.IncompleteReadError:
        raise BrokenMessage("the peer ended in the middle of a body") from None
    except ValueError as error:
        raise BrokenMessage(f"a body of unknown length: {error}") from None


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size:
            pieces.append(await reader.readexactly(size))
        await reader.readuntil(b"\r\n")
        if not size:
            return b"".join(pieces)
