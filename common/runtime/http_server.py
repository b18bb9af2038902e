"""The small HTTP server of every service: its metrics, its health, and what a service adds.

Every connection is short: it has a few seconds for one request, and only so many are served at a
time, so that a slow or hostile client costs no more than its own response. Errors are JSON.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from common.errors import ConfigError
from common.runtime.basic_auth import CHALLENGE, BasicAuth
from common.runtime.http.body import NoBody, read_body
from common.runtime.http.loop import ListeningServer
from common.runtime.readiness.health import Health
from common.secret_files import check_secret_mode

READ_SECONDS = 5.0
CONNECTION_SECONDS = 15.0
MAX_CONNECTIONS = 16
# Beyond those, for clients on this very machine: in a container, its health check alone.
RESERVED_CONNECTIONS = 2
# Request line and headers together; the standard library takes a hundred headers of 64 KiB each.
MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sends, as far as pages need it; names of headers in any case."""

    client: str
    query: str
    headers: Message
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """What a client is sent."""

    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Page = Callable[[Request], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """The pages of one path; ``auth``, if there is any, guards them."""

    get: Page | None
    post: Page | None = None
    auth: BasicAuth | None = None
    max_body_bytes: int = MAX_BODY_BYTES

    @property
    def methods(self) -> str:
        """What the header Allow says."""
        names = {"GET, HEAD": self.get, "POST": self.post}
        return ", ".join(name for name, page in names.items() if page)


def json_response(status: HTTPStatus, document: object, **headers: str) -> Response:
    """A document as JSON."""
    body = json.dumps(document, ensure_ascii=False).encode() + b"\n"
    return Response(status, body, headers=headers)


def error_response(status: HTTPStatus, why: str, **headers: str) -> Response:
    """One sentence about what is wrong."""
    return json_response(status, {"error": why}, **headers)


def metrics_page(registry: CollectorRegistry, refresh: Callable[[], None] | None = None) -> Page:
    """/metrics as text or OpenMetrics, whichever the client accepts; all of it, or ``name[]``.

    ``refresh`` is called before each scrape.
    """

    def page(request: Request) -> Response:
        if refresh is not None:
            refresh()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        names = parse_qs(request.query).get("name[]", [])
        wanted = registry.restricted_registry(names) if names else registry
        return Response(HTTPStatus.OK, encode(wanted), content_type)

    return page


def service_routes(
    registry: CollectorRegistry,
    health: Health,
    about: Callable[[], dict[str, Any]],
    auth: BasicAuth | None = None,
) -> dict[str, Route]:
    """/metrics, /livez, /readyz and /health; ``auth``, if there is any, guards /metrics only."""

    def report(document: Callable[[], dict[str, Any]], *good: str) -> Route:
        def page(_: Request) -> Response:
            found = document()
            is_good = all(found[name] for name in good)
            status = HTTPStatus.OK if is_good else HTTPStatus.SERVICE_UNAVAILABLE
            return json_response(status, found)

        return Route(page)

    return {
        "/metrics": Route(metrics_page(registry), auth=auth),
        "/livez": report(health.live_report, "live"),
        "/readyz": report(health.ready_report, "ready"),
        "/health": report(
            lambda: about() | health.live_report() | health.ready_report(), "live", "ready"
        ),
    }


def tls_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """A context that shows the chain in ``cert_file``.

    Raises :class:`ValueError` if certificate or key cannot be used, or if every user of the machine
    may read the key.
    """
    check_secret_mode(key_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Asked for a passphrase, OpenSSL would otherwise wait at the terminal.
        context.load_cert_chain(cert_file, key_file, password=_no_passphrase)
    except (OSError, ValueError) as error:
        # OpenSSL says neither which of the files it means nor, often, what is wrong with it.
        why = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"TLS with {cert_file} and {key_file}: {why}") from None
    return context


def _no_passphrase() -> str:
    raise ValueError("the key must not have a passphrase")


class HttpServer:
    """Serves routes from threads of its own, from its making until :meth:`close`."""

    def __init__(
        self,
        host: str,
        port: int,
        routes: Mapping[str, Route],
        *,
        tls: ssl.SSLContext | None = None,
        on_refused: Callable[[str], None] | None = None,
        connection_seconds: float = CONNECTION_SECONDS,
        is_reserved_for: Callable[[str], bool] | None = None,
        settings_names: str = "pipeline.http_host and http_port",
    ) -> None:
        """Listen on ``host`` and ``port`` (0 = a free one), with a ``tls`` context over TLS.

        ``on_refused`` is called with the address of a client whose credentials are wrong. A
        connection is cut after ``connection_seconds``, however busy it looks. When all connections
        are taken, clients whose address ``is_reserved_for`` accepts (this machine's own) still have
        ``RESERVED_CONNECTIONS``. ``settings_names`` is what an error calls host and port.

        Raises :class:`ConfigError` when that address cannot be listened on.
        """
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._server = _Server(family, (host, port), routes)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ConfigError(
                f"{settings_names}: cannot listen on {host} port {port}: {why}"
            ) from None
        self._server.tls = tls
        self._server.on_refused = on_refused or self._server.on_refused
        self._server.connection_seconds = connection_seconds
        self._server.is_reserved_for = is_reserved_for or self._server.is_reserved_for
        self._thread = threading.Thread(target=self._server.serve, daemon=True, name="http")
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening; responses under way are finished or cut off."""
        self._server.end()
        self._thread.join()
        self._server.server_close()


class _Server(ListeningServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    # Newer versions of the standard library would let two services share one port.
    allow_reuse_port = False
    tls: ssl.SSLContext | None = None
    connection_seconds = CONNECTION_SECONDS

    def __init__(
        self,
        family: socket.AddressFamily,
        address: tuple[str, int],
        routes: Mapping[str, Route],
    ) -> None:
        self.address_family = family
        self.routes = routes
        self.on_refused: Callable[[str], None] = lambda client: None
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.is_reserved_for: Callable[[str], bool] = _is_loopback
        self._reserved = threading.BoundedSemaphore(RESERVED_CONNECTIONS)
        self._taken: dict[Any, threading.BoundedSemaphore] = {}
        # Until when each connection may be open.
        self._open: dict[socket.socket, float] = {}
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks up the host's name, which can take seconds where there is no DNS.
        socketserver.TCPServer.server_bind(self)

    def get_request(self) -> tuple[socket.socket, Any]:
        """The handshake is left to the connection's own thread: here it would keep others out."""
        connection, client = super().get_request()
        if self.tls is not None:
            connection = self.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, client

    def process_request(self, request: Any, client_address: Any) -> None:
        slots = self._slots
        if not slots.acquire(blocking=False):
            slots = self._reserved
            if not self.is_reserved_for(client_address[0]) or not slots.acquire(blocking=False):
                self.shutdown_request(request)
                return
        self._taken[request] = slots
        self._open[request] = time.monotonic() + self.connection_seconds
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Give the place back before the client can see the end: it may connect again at once."""
        self._open.pop(request, None)
        if (slots := self._taken.pop(request, None)) is not None:
            slots.release()
        super().shutdown_request(request)

    def service_actions(self) -> None:
        now = time.monotonic()
        for request, deadline in list(self._open.items()):
            if now > deadline:
                try:
                    # The socket's own: TLS would first want to say goodbye.
                    socket.socket.shutdown(request, socket.SHUT_RDWR)
                except OSError:
                    self._open.pop(request, None)

    def busy(self) -> bool:
        """Whether a connection is open, which may have to be cut."""
        return bool(self._open)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's error."""


def _is_loopback(client: str) -> bool:
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # of a socket that listens on :: alone
    return (mapped or address).is_loopback


class _BoundedHead:
    """What a client sends, of which a request's head may take so many bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._left_bytes = MAX_HEAD_BYTES
        self.read = stream.read
        self.close = stream.close

    def readline(self, limit: int) -> bytes:
        """A line of the head. Raises :class:`HTTPException` when that is too large."""
        line = self.stream.readline(min(limit, self._left_bytes + 1))
        self._left_bytes -= len(line)
        if self._left_bytes < 0:
            raise HTTPException(f"the head is above {MAX_HEAD_BYTES} bytes")
        return line


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = READ_SECONDS

    def setup(self) -> None:
        super().setup()
        self.rfile: Any = _BoundedHead(self.rfile)

    def handle_one_request(self) -> None:
        """One request; parse_request itself responds to what is wrong with the headers."""
        try:
            super().handle_one_request()
        except HTTPException:  # the request line alone is too long
            self.requestline, self.request_version, self.command = "", "HTTP/1.0", ""
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
            self.close_connection = True

    def _respond(self) -> None:
        # Read first, whoever sends it: a connection closed over unread bytes can lose the response.
        route = self.server.routes.get(urlsplit(self.path).path)
        max_body_bytes = route.max_body_bytes if route else MAX_BODY_BYTES
        body = self._body(max_body_bytes) if self.command == "POST" else b""
        response = self._response(body)
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    do_GET = do_HEAD = do_POST = _respond
    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _respond

    def _response(self, body: bytes | Response) -> Response:
        parts = urlsplit(self.path)
        route = self.server.routes.get(parts.path)
        if route is None:
            known = ", ".join(self.server.routes)
            return error_response(HTTPStatus.NOT_FOUND, f"not found; there are {known}")
        page = {"GET": route.get, "HEAD": route.get, "POST": route.post}.get(self.command)
        if page is None:
            why = f"the methods of {parts.path} are {route.methods}"
            return error_response(HTTPStatus.METHOD_NOT_ALLOWED, why, Allow=route.methods)
        client = self.client_address[0]
        if route.auth is not None and not route.auth.permits(self.headers.get("Authorization")):
            self.server.on_refused(client)
            why = "user name and password required"
            challenge = {"WWW-Authenticate": CHALLENGE}
            return error_response(HTTPStatus.UNAUTHORIZED, why, **challenge)
        if isinstance(body, Response):
            return body
        return page(Request(client, parts.query, self.headers, body))

    def _body(self, max_body_bytes: int) -> bytes | Response:
        """The body, or what is wrong with it."""
        try:
            return read_body(self.rfile.stream, self.headers, max_body_bytes)
        except NoBody as error:
            return error_response(error.status, str(error))

    def version_string(self) -> str:
        """What the Server header says: not which Python this is."""
        return "etl"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: they come every few seconds for ever."""
