"""HTTP of the simulator: ``/metrics`` behind basic authentication, ``/health`` open."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

_REALM = 'Basic realm="metrics", charset="UTF-8"'
_IDLE_SECONDS = 60.0


class Log(Protocol):
    """The part of a structlog logger that is used here."""

    def debug(self, event: str, **fields: object) -> object:
        """Logs at debug level."""

    def warning(self, event: str, **fields: object) -> object:
        """Logs a warning."""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()


class BasicAuth:
    """Compares credentials in constant time: digests, so that not even lengths show."""

    def __init__(self, username: str, password: str) -> None:
        self._username = _digest(username)
        self._password = _digest(password)

    def permits(self, header: str | None) -> bool:
        """Whether an ``Authorization`` header (RFC 7617) names our user and password."""
        scheme, _, encoded = (header or "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            return False
        username, colon, password = decoded.partition(":")
        # Both are always compared: an early answer would tell which one was right.
        same_user = hmac.compare_digest(_digest(username), self._username)
        same_password = hmac.compare_digest(_digest(password), self._password)
        return same_user and same_password and bool(colon)


class MetricsServer(ThreadingHTTPServer):
    """Serves ``registry``; ``refresh`` is called before each scrape."""

    daemon_threads = True
    allow_reuse_address = True
    # Newer versions of the standard library would let two simulators share one port.
    allow_reuse_port = False

    def __init__(
        self,
        address: tuple[str, int],
        auth: BasicAuth,
        registry: CollectorRegistry,
        refresh: Callable[[], None],
        log: Log,
    ) -> None:
        self.auth = auth
        self.registry = registry
        self.refresh = refresh
        self.log = log
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error of ours; the default prints a traceback."""
        self.log.debug("client_lost", client=str(client_address))


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/health":
            self._answer(HTTPStatus.OK, b'{"status":"ok"}\n')
        elif path != "/metrics":
            self._answer(HTTPStatus.NOT_FOUND, b'{"error":"not found"}\n')
        elif not self.server.auth.permits(self.headers.get("Authorization")):
            self.server.log.warning("scrape_refused", client=self.client_address[0])
            self._answer(
                HTTPStatus.UNAUTHORIZED,
                b'{"error":"user name and password required"}\n',
                {"WWW-Authenticate": _REALM},
            )
        else:
            self.server.refresh()
            body = generate_latest(self.server.registry)
            self._answer(HTTPStatus.OK, body, {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    def version_string(self) -> str:
        return "test-app"

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(
        self, status: HTTPStatus, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        self.server.log.debug("http", client=self.client_address[0], message=format % args)
