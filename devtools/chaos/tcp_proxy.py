"""A TCP relay that cuts connections at a chosen byte: in the middle of a command, or of a reply."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from devtools.chaos.sockets import Listener, reset
from devtools.servers.ports import HOST

Direction = Literal["up", "down"]

_PIECE_BYTES = 65_536


@dataclass(slots=True)
class Cut:
    """Cut after so many more bytes in one direction, whichever connection carries the last one.

    ``everybody``: all connections are reset then, not only that one.
    """

    direction: Direction
    left_bytes: int
    everybody: bool


class TcpProxy:
    """Listens on ``port`` and relays each connection to a server on loopback."""

    def __init__(self, port: int) -> None:
        self.listener = Listener(port, self._serve)
        self._upstream_port = 0
        self._cuts: list[Cut] = []
        self._done = {"up": 0, "down": 0}
        self._reset = 0

    def point(self, upstream_port: int) -> None:
        """Where connections go."""
        self._upstream_port = upstream_port

    def cut(self, direction: Direction, after_bytes: int, *, everybody: bool) -> None:
        """Plan a cut; several planned ones happen one after the other."""
        self._cuts.append(Cut(direction, max(1, after_bytes), everybody))

    def state(self) -> dict[str, Any]:
        """Counts for the driver."""
        return {
            "connections": self.listener.connections,
            "cuts": dict(self._done),
            "reset": self._reset,
            "left": len(self._cuts),
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(HOST, self._upstream_port)
        pumps = [
            asyncio.create_task(self._pump("up", reader, up_writer)),
            asyncio.create_task(self._pump("down", up_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            reset(up_writer)
            reset(writer)

    async def _pump(
        self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            cut = next((it for it in self._cuts if it.direction == direction), None)
            if cut is not None and len(piece) >= cut.left_bytes:
                self._cuts.remove(cut)
                self._done[direction] += 1
                # One byte short of a whole piece, which may be a whole command.
                writer.write(piece[: min(cut.left_bytes, len(piece) - 1)])
                await writer.drain()
                if cut.everybody:
                    self._reset += self.listener.reset_all()
                return
            if cut is not None:
                cut.left_bytes -= len(piece)
            writer.write(piece)
            await writer.drain()
