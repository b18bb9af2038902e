"""A reverse proxy for HTTP that passes requests on as they are, unless a rule says otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from devtools.chaos.http1 import HEAD_MAX_BYTES, BrokenMessage, Message, read_body, read_head
from devtools.chaos.rules import Rule, Rules
from devtools.chaos.sockets import Listener, reset
from devtools.servers.ports import HOST

# A body that is reset in its middle must have one.
_PIECE_BYTES = 16_384
# A body without end comes so fast that a reader without a bound is found out, and no machine hangs.
_ENDLESS_PIECE_BYTES = 65_536
_ENDLESS_PAUSE_SECONDS = 0.005
_DRIP_SECONDS = 0.05


class HttpProxy:
    """Listens on ``port`` and asks a server on loopback, a new connection for each request.

    Every request waits for a time between ``delay_seconds`` first, so that faults at random
    instants meet work that is under way.
    """

    def __init__(self, port: int, rng: random.Random) -> None:
        self.rules = Rules()
        self.listener = Listener(port, self._serve)
        self.requests = 0
        self.under_way = 0
        self._upstream_ports: Sequence[int] = ()
        self._answers: Counter[str] = Counter()
        self._delay_seconds = (0.0, 0.0)
        self._rng = rng
        self._late: set[asyncio.Task[None]] = set()

    def point(self, upstream_port: int, delay_seconds: tuple[float, float], *others: int) -> None:
        """Where requests go, and between which times each of them waits first.

        With ``others`` each request goes to any of the ports.
        """
        self._upstream_ports = upstream_port, *others
        self._delay_seconds = delay_seconds

    def state(self) -> dict[str, Any]:
        """Counts for the driver."""
        return {
            "requests": self.requests,
            "under_way": self.under_way,
            "hits": dict(self.rules.hits),
            "left": self.rules.left,
            "answers": dict(self._answers),
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.transport.is_closing():
            try:
                request = await read_head(reader)
                if request is None:
                    return
                self.requests += 1
                self.under_way += 1
                try:
                    await self._one(request, reader, writer)
                finally:
                    self.under_way -= 1
            except BrokenMessage:
                reset(writer)

    async def _one(
        self, request: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        length = int(request.header("content-length") or 0)
        rule = self.rules.take(request.target, length)
        if rule is not None and rule.action == "reset_body":
            await _read_some(reader, int(length * rule.share))
            reset(writer)
            return
        if request.header("expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await read_body(reader, request)
        if rule is None and self.rules.read_bodies:
            rule = self.rules.take(request.target, length, _inflated(request.body))
        if rule is not None and rule.action == "endless":
            await _pour(reader, writer, _made(rule), rule.more.encode())
            return
        if rule is not None and rule.action == "answer":
            response = _made(rule)
        elif rule is not None and rule.action == "slow":
            # Shielded: the client may give up, a slow server works on.
            late = asyncio.create_task(self._answer_late(request, rule.seconds, writer))
            self._late.add(late)
            late.add_done_callback(self._late.discard)
            await late
            return
        else:
            await asyncio.sleep(self._rng.uniform(*self._delay_seconds))
            response = await self._ask(request)
        await _send(writer, response, rule)

    async def _answer_late(
        self, request: Message, seconds: float, writer: asyncio.StreamWriter
    ) -> None:
        await asyncio.sleep(seconds)
        with contextlib.suppress(OSError, BrokenMessage):
            response = await self._ask(request)
            if not writer.transport.is_closing():
                await _send(writer, response, None)
                return
        reset(writer)

    async def _ask(self, request: Message) -> Message:
        """The server's whole response; raises when the server is away or breaks off."""
        reader, writer = await asyncio.open_connection(
            HOST, self._rng.choice(self._upstream_ports), limit=HEAD_MAX_BYTES
        )
        try:
            writer.write(request.encode())
            await writer.drain()
            response = await read_head(reader)
            if response is None:
                raise BrokenMessage("the server ended without an answer")
            await read_body(reader, response, answer_to=request.method)
            self._answers[str(response.status)] += 1
            return response
        finally:
            writer.close()


def _made(rule: Rule) -> Message:
    return Message(
        f"HTTP/1.1 {rule.status} Fault",
        [(name.lower(), value) for name, value in rule.headers.items()],
        rule.body.encode(),
    )


def _inflated(body: bytes) -> bytes:
    """A request's body without its compression, if it has any."""
    try:
        return gzip.decompress(body)
    except (OSError, EOFError, zlib.error):
        return body


async def _pour(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, response: Message, more: bytes
) -> None:
    """Send a body without end, until the client has gone or has asked for something else."""
    response.headers.append(("connection", "close"))
    gone = asyncio.create_task(reader.read(1))
    try:
        writer.write(response.bodiless() + response.body)
        piece = more * max(1, _ENDLESS_PIECE_BYTES // len(more))
        while not gone.done():
            writer.write(piece)
            await writer.drain()
            await asyncio.wait((gone,), timeout=_ENDLESS_PAUSE_SECONDS)
    finally:
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        reset(writer)


async def _send(writer: asyncio.StreamWriter, response: Message, rule: Rule | None) -> None:
    match rule.action if rule else None:
        case "lose_answer":
            reset(writer)
            return
        case "truncate" if rule:
            response.body = response.body[: int(len(response.body) * rule.share)]
        case "cut_answer" if rule:
            part = response.body[: int(len(response.body) * rule.share)]
            writer.write(response.head() + part)
            await writer.drain()
            writer.close()
            return
        case "drip" if rule:
            whole = response.encode()
            at_once = int(len(whole) * rule.share)
            writer.write(whole[:at_once])
            await _drip(writer, whole[at_once:])
            return
        case _:
            pass
    writer.write(response.encode())
    await writer.drain()


async def _drip(writer: asyncio.StreamWriter, rest: bytes) -> None:
    """Send ``rest`` byte by byte, for as long as the client stays."""
    for byte in rest:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(_DRIP_SECONDS)
        if writer.transport.is_closing():
            return


async def _read_some(reader: asyncio.StreamReader, wanted_bytes: int) -> None:
    while wanted_bytes > 0:
        piece = await reader.read(min(wanted_bytes, _PIECE_BYTES))
        if not piece:
            return
        wanted_bytes -= len(piece)
