"""A small real HTTP server that responds as a test wants it to, however badly."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """What was requested."""

    method: str
    path: str
    params: dict[str, str]
    headers: Mapping[str, str]
    connection: int


Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the server's ``answer``."""

    protocol_version = "HTTP/1.1"
    # Else a body waits up to 40 ms for the client to acknowledge the head.
    disable_nagle_algorithm = True
    server: AnsweringServer

    def _handle(self) -> None:
        url = urlsplit(self.path)
        size = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(size).decode(errors="replace")
        self.request_seen = Request(
            self.command,
            url.path,
            dict(parse_qsl(url.query) + parse_qsl(body)),
            dict(self.headers),
            self.client_address[1],
        )
        self.server.requests.append(self.request_seen)
        self.server.answer(self)

    do_GET = do_POST = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def hang_up(self) -> None:
        """Close the connection, whatever was sent."""
        self.wfile.flush()
        self.close_connection = True

    def reset(self) -> None:
        """Break the connection as a crashing server does."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


class AnsweringServer(ThreadingHTTPServer):
    """Listens on a free port of this machine while its context lasts."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        # Set at the end: a response that waits for it waits as long as anybody listens.
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)
        self._scheme = "https" if context else "http"
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{self._scheme}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients go away in these tests; that is no news."""

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


def reply(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A whole response with its length."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def chunked(body: bytes, *, chunk_bytes: int = 1_000, ended: bool = True) -> Answer:
    """A response in chunked encoding, with or without the last chunk that ends it."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for begin in range(0, len(body), chunk_bytes):
            chunk = body[begin : begin + chunk_bytes]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if ended:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.hang_up()

    return answer
