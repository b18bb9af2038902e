"""The small HTTP server that every service is watched through.

/metrics (Prometheus text or OpenMetrics, as asked; behind basic authentication where that is
wanted), /livez, /readyz, /health; GET and HEAD only.
Every connection is short: it has a few seconds, and only so many are served at a time, so that a
slow or hostile client costs no more than its own answer.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from common.errors import ConfigError
from common.runtime.basic_auth import CHALLENGE, BasicAuth
from common.runtime.health import Health

READ_SECONDS = 5.0
CONNECTION_SECONDS = 15.0
MAX_CONNECTIONS = 16

Answer = tuple[HTTPStatus, str, bytes]


class Pages:
    """What is answered under each path; ``auth``, if there is any, guards /metrics only."""

    def __init__(
        self,
        registry: CollectorRegistry,
        health: Health,
        about: Callable[[], dict[str, Any]],
        auth: BasicAuth | None = None,
    ) -> None:
        self._registry = registry
        self._health = health
        self._about = about
        self._auth = auth

    def get(self, target: str, accept: str, authorization: str | None = None) -> Answer:
        """Status, content type and body for a request target and two of its headers."""
        parts = urlsplit(target)
        match parts.path:
            case "/metrics":
                if self._auth is not None and not self._auth.permits(authorization):
                    return (HTTPStatus.UNAUTHORIZED, _TEXT, b"user name and password required\n")
                return self._metrics(accept, parse_qs(parts.query).get("name[]", []))
            case "/livez":
                return _json(self._health.live(), self._health.live_report())
            case "/readyz":
                return _json(self._health.ready(), self._health.ready_report())
            case "/health":
                report = self._about() | self._health.live_report() | self._health.ready_report()
                return _json(self._health.healthy(), report)
            case _:
                known = "/metrics, /livez, /readyz, /health"
                return (HTTPStatus.NOT_FOUND, _TEXT, f"not found; there are {known}\n".encode())

    def _metrics(self, accept: str, names: list[str]) -> Answer:
        encode, content_type = choose_encoder(accept)
        registry = self._registry.restricted_registry(names) if names else self._registry
        return (HTTPStatus.OK, content_type, encode(registry))


_TEXT = "text/plain; charset=utf-8"


def _json(ok: bool, report: dict[str, Any]) -> Answer:
    status = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
    return (status, "application/json", json.dumps(report).encode() + b"\n")


class HttpServer:
    """Serves :class:`Pages` from threads of its own, from its making until :meth:`close`."""

    def __init__(
        self,
        host: str,
        port: int,
        pages: Pages,
        *,
        connection_seconds: float = CONNECTION_SECONDS,
        settings_names: str = "pipeline.http_host and http_port",
    ) -> None:
        """Listen on ``host`` and ``port`` (0 = a free one).

        A connection is cut after ``connection_seconds``, however busy it looks. ``settings_names``
        is what an error calls the two.

        Raises :class:`ConfigError` when that address cannot be listened on.
        """
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._server = _Server(family, (host, port), pages, connection_seconds)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ConfigError(
                f"{settings_names}: cannot listen on {host} port {port}: {why}"
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            daemon=True,
            name="http",
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening; answers under way are finished or cut off."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        family: socket.AddressFamily,
        address: tuple[str, int],
        pages: Pages,
        connection_seconds: float,
    ) -> None:
        self.address_family = family
        self.pages = pages
        self._connection_seconds = connection_seconds
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._open: dict[socket.socket, float] = {}
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks up the host's name, which can take seconds where there is no DNS.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._open[request] = time.monotonic() + self._connection_seconds
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.pop(request, None)
            self._slots.release()

    def service_actions(self) -> None:
        now = time.monotonic()
        for request, deadline in list(self._open.items()):
            if now > deadline:
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:
                    self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's error."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = READ_SECONDS

    def do_GET(self) -> None:
        status, content_type, body = self.server.pages.get(
            self.path, self.headers.get("Accept", ""), self.headers.get("Authorization")
        )
        self.send_response(status)
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", CHALLENGE)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST

    def version_string(self) -> str:
        """What the Server header says: not which Python this is."""
        return "etl"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: they come every few seconds for ever."""
