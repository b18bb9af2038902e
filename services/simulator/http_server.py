"""HTTP of the simulator: everything behind basic authentication but ``/health``."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from common.runtime.basic_auth import CHALLENGE, BasicAuth
from services.simulator.process import InForce
from services.simulator.scenario_request import (
    MAX_BODY_BYTES,
    BadMediaType,
    BadRequest,
    ScenarioRequest,
    answer,
    parse_request,
)

_IDLE_SECONDS = 60.0
_SKIPPED_BYTES = 1 << 20  # of a body that is too large, so that its sender reads the answer
_JSON_TYPE = "application/json"
_METHODS = {"/health": "GET, HEAD", "/metrics": "GET, HEAD", "/scenario": "GET, HEAD, POST"}


class Log(Protocol):
    """The part of a structlog logger that is used here."""

    def debug(self, event: str, **fields: object) -> object:
        """Logs at debug level."""

    def info(self, event: str, **fields: object) -> object:
        """Logs what happened."""

    def warning(self, event: str, **fields: object) -> object:
        """Logs a warning."""


@dataclass(frozen=True, slots=True)
class Pages:
    """What is behind the paths; each of these answers at once and writes nothing.

    ``refresh`` is called before each scrape of ``registry``. ``ill`` says why the health check
    fails, or None.
    """

    registry: CollectorRegistry
    refresh: Callable[[], None]
    ill: Callable[[], str | None]
    in_force: Callable[[], InForce]
    switch: Callable[[ScenarioRequest], InForce]


class SimulatorServer(ThreadingHTTPServer):
    """Serves :class:`Pages`; with a ``tls`` context, over TLS."""

    daemon_threads = True
    allow_reuse_address = True
    # Newer versions of the standard library would let two simulators share one port.
    allow_reuse_port = False

    def __init__(
        self,
        address: tuple[str, int],
        auth: BasicAuth,
        pages: Pages,
        log: Log,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.auth = auth
        self.pages = pages
        self.log = log
        self._tls = tls
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, object]:
        """The handshake is left to the connection's own thread: here it would keep others out."""
        connection, client = super().get_request()
        if self._tls is not None:
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, client

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error of ours; the default prints a traceback."""
        self.log.debug("client_lost", client=str(client_address))


class _Refusal(NamedTuple):
    """What is wrong with a body."""

    status: HTTPStatus
    why: str


class _Handler(BaseHTTPRequestHandler):
    server: SimulatorServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path not in _METHODS:
            self._error(HTTPStatus.NOT_FOUND, "not found")
        elif path == "/health":
            self._health()
        elif self._permitted():
            if path == "/metrics":
                self.server.pages.refresh()
                body = generate_latest(self.server.pages.registry)
                self._answer(HTTPStatus.OK, body, {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
            else:
                self._json(HTTPStatus.OK, answer(self.server.pages.in_force()))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        # Read first, whoever asks: a connection closed over unread bytes can lose the answer.
        body = self._body()
        if path not in _METHODS:
            self._error(HTTPStatus.NOT_FOUND, "not found")
        elif path != "/scenario":
            self._error(
                HTTPStatus.METHOD_NOT_ALLOWED, "only for reading", {"Allow": _METHODS[path]}
            )
        elif self._permitted():
            if isinstance(body, _Refusal):
                self._error(body.status, body.why)
            else:
                self._switch(body)

    def version_string(self) -> str:
        return "test-app"

    def log_message(self, format: str, *args: object) -> None:
        self.server.log.debug("http", client=self.client_address[0], message=format % args)

    def _health(self) -> None:
        why = self.server.pages.ill()
        if why is None:
            self._json(HTTPStatus.OK, {"status": "ok"})
        else:
            self._json(HTTPStatus.SERVICE_UNAVAILABLE, {"status": "unhealthy", "reason": why})

    def _body(self) -> bytes | _Refusal:
        told = self.headers.get("Content-Length", "")
        if not (told.isascii() and told.isdigit()):
            # Nothing that follows on this connection could be understood.
            self.close_connection = True
            return _Refusal(HTTPStatus.LENGTH_REQUIRED, "say how long the body is")
        # The number of digits first: nobody should have to read a million of them.
        length_bytes = int(told) if len(told) < 10 else _SKIPPED_BYTES
        if length_bytes <= MAX_BODY_BYTES:
            body = self.rfile.read(length_bytes)
            if len(body) == length_bytes:
                return body
            self.close_connection = True
            return _Refusal(HTTPStatus.BAD_REQUEST, "the body is cut off")
        self.close_connection = True
        unread_bytes = min(length_bytes, _SKIPPED_BYTES)
        while unread_bytes > 0 and (skipped := self.rfile.read(min(unread_bytes, 65_536))):
            unread_bytes -= len(skipped)
        why = f"the body is above {MAX_BODY_BYTES} bytes"
        return _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why)

    def _switch(self, body: bytes) -> None:
        try:
            request = parse_request(self.headers.get("Content-Type", ""), body)
        except BadRequest as error:
            bad_type = isinstance(error, BadMediaType)
            status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE if bad_type else HTTPStatus.BAD_REQUEST
            self._error(status, str(error))
            return
        in_force = self.server.pages.switch(request)
        self.server.log.info(
            "scenario_requested",
            client=self.client_address[0],
            scenario=request.scenario,
            for_seconds=request.for_seconds,
        )
        self._json(HTTPStatus.OK, answer(in_force))

    def _permitted(self) -> bool:
        if self.server.auth.permits(self.headers.get("Authorization")):
            return True
        self.server.log.warning("request_refused", client=self.client_address[0])
        self._error(
            HTTPStatus.UNAUTHORIZED,
            "user name and password required",
            {"WWW-Authenticate": CHALLENGE},
        )
        return False

    def _error(self, status: HTTPStatus, why: str, headers: dict[str, str] | None = None) -> None:
        self._json(status, {"error": why}, headers)

    def _json(
        self, status: HTTPStatus, document: object, headers: dict[str, str] | None = None
    ) -> None:
        body = json.dumps(document, ensure_ascii=False).encode("utf-8") + b"\n"
        self._answer(status, body, {"Content-Type": _JSON_TYPE, **(headers or {})})

    def _answer(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
