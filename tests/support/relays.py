"""What may stand between us and a server: a forward proxy, and an end of TLS."""

from __future__ import annotations

import base64
import http.client
import selectors
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, TCPServer, ThreadingTCPServer
from typing import Any
from urllib.parse import urlsplit

HOST = "127.0.0.1"


class ForwardProxy:
    """A proxy that tunnels https (``CONNECT``) and forwards http.

    ``ports`` is what it knows by name, on loopback; nobody else can resolve these names. With
    ``credentials`` (``user:password``) it wants to see them. ``seen`` are the methods and targets
    of the requests that it let through.
    """

    def __init__(self, ports: Mapping[str, int], credentials: str = "") -> None:
        self.ports, self.credentials = dict(ports), credentials
        self.seen: list[tuple[str, str]] = []
        owner = self

        class Bound(_ProxyHandler):
            proxy = owner

        self.server = ThreadingHTTPServer((HOST, 0), Bound)
        self.server.daemon_threads = True

    @property
    def address(self) -> str:
        return f"{HOST}:{self.server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"


class _ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    wbufsize = 1 << 16
    proxy: ForwardProxy

    def do_CONNECT(self) -> None:
        if (port := self._port(urlsplit(f"//{self.path}").hostname)) is None:
            return
        with socket.create_connection((HOST, port)) as upstream:
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            relay(self.connection, upstream)
        self.close_connection = True

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        if (port := self._port(url.hostname)) is None:
            return
        headers = {k: v for k, v in self.headers.items() if not k.lower().startswith("proxy-")}
        upstream = http.client.HTTPConnection(HOST, port, timeout=20)
        upstream.request(self.command, f"{url.path}?{url.query}", body, headers)
        response = upstream.getresponse()
        content = response.read()
        upstream.close()
        self.send_response(response.status)
        for name, value in response.headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self._end(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward

    def _port(self, host: str | None) -> int | None:
        """The port to go on to; None after a refusal."""
        wanted = base64.b64encode(self.proxy.credentials.encode()).decode()
        if wanted and self.headers.get("Proxy-Authorization") != f"Basic {wanted}":
            self.send_response(407)
            self._end(b"who are you?")
            return None
        if host not in self.proxy.ports:
            self.send_response(502)
            self._end(b"no such host")
            return None
        self.proxy.seen.append((self.command, host))
        return self.proxy.ports[host]

    def _end(self, content: bytes) -> None:
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


@contextmanager
def forward_proxy(ports: Mapping[str, int], credentials: str = "") -> Iterator[ForwardProxy]:
    """A proxy that runs for the time of the block."""
    proxy = ForwardProxy(ports, credentials)
    with _serving(proxy.server):
        yield proxy


@contextmanager
def tls_front(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """The port of an end of TLS before the plain server at ``port``."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            inside = context.wrap_socket(
                self.request, server_side=True, do_handshake_on_connect=False
            )
            with suppress(OSError), inside:
                try:
                    inside.do_handshake()
                except ssl.SSLError:
                    # Closed with something unread, it would be reset, and the alert lost.
                    while socket.socket.recv(inside, 1 << 16):
                        pass
                    return
                with socket.create_connection((HOST, port)) as upstream:
                    relay(inside, upstream)

    server = ThreadingTCPServer((HOST, 0), Handler)
    server.daemon_threads = True
    with _serving(server):
        yield int(server.server_address[1])


@contextmanager
def _serving(server: TCPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def relay(one: socket.socket, other: socket.socket) -> None:
    """Pass on what either sends, until one of them ends."""
    with suppress(OSError), selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select(timeout=30):
                source: Any = key.fileobj
                if not _pass_on(source, key.data):
                    return


def _pass_on(source: socket.socket, target: socket.socket) -> bool:
    piece = source.recv(1 << 16)
    # TLS may hold more than the selector sees.
    while piece and isinstance(source, ssl.SSLSocket) and source.pending():
        piece += source.recv(source.pending())
    target.sendall(piece)
    return bool(piece)
