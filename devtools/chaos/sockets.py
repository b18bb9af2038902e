"""What both kinds of proxy do with connections."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from devtools.chaos.http1 import HEAD_MAX_BYTES
from devtools.servers.ports import HOST

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# Close with a reset instead of the polite end of a connection.
_LINGER_NOT = struct.pack("ii", 1, 0)


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset a connection: its peer gets ECONNRESET, what was not read is lost."""
    if writer.transport.is_closing():
        return
    sock = writer.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    writer.transport.abort()


class Listener:
    """A loopback port that can be closed and opened again; open connections are known."""

    def __init__(self, port: int, serve: Serve) -> None:
        self.port = port
        self.connections = 0
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Listen; nothing happens if it does."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._handle, HOST, self.port, limit=HEAD_MAX_BYTES
            )

    async def close(self) -> int:
        """Refuse new connections and reset those that are open; how many those were."""
        if self._server is not None:
            self._server.close()
            self._server = None
        return self.reset_all()

    def reset_all(self) -> int:
        """Reset every open connection."""
        writers = list(self._writers)
        for writer in writers:
            reset(writer)
        return len(writers)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            reset(writer)
        finally:
            self._writers.discard(writer)
            writer.close()
