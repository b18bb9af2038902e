"""A server whose responses drip, over plain connections or TLS."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Far below the time-out of a single wait, which therefore never ends one of these.
PACE_SECONDS = 0.02


def _request(connection: socket.socket) -> bool:
    """Read one request, which may come in pieces; false when there is none any more."""
    read = b""
    while b"\r\n\r\n" not in read:
        if not (piece := connection.recv(1 << 20)):
            return False
        read += piece
    head, _, body = read.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    missing = int(length[1]) - len(body) if length else 0
    while missing > 0:
        if not (piece := connection.recv(1 << 20)):
            return False
        missing -= len(piece)
    return True


class Server:
    """Responds to each request with ``first`` at once, then with ``drip`` again and again."""

    def __init__(self, first: bytes, drip: bytes, context: ssl.SSLContext | None = None) -> None:
        self.first, self.drip, self._context = first, drip, context
        self.connections = 0
        self._closing = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            connection, _ = self._socket.accept()
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with plain:
            try:
                with self._wrapped(plain) as connection:
                    while _request(connection):
                        connection.sendall(self.first)
                        while self.drip and not self._closing.wait(PACE_SECONDS):
                            connection.sendall(self.drip)
            except OSError:
                return  # the client has had enough

    def _wrapped(self, plain: socket.socket) -> socket.socket:
        return (
            plain if self._context is None else self._context.wrap_socket(plain, server_side=True)
        )


@contextmanager
def serving(first: bytes, drip: bytes, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(first, drip, context)
    try:
        yield server
    finally:
        server.close()
