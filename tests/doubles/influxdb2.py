"""A stand-in for InfluxDB 2: its write path over HTTP, which can misbehave on the way by request.

The engine behind it decides (status, headers, body) and keeps points. It passes the same
contract tests as a real influxd.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.doubles import influxql
from tests.doubles.influx_engine import Engine, Response, error_response


@dataclass(frozen=True)
class Fault:
    """What happens to one write instead of, or on top of, what should.

    ``response``: this is sent and nothing is written. ``reset_after_bytes``: the connection is
    reset when so much of the body was read. ``lose_response``: the points are written and the
    connection is reset. ``cut_response``: the response breaks off in its body. ``hang``: nothing
    until the server is closed or :meth:`InfluxDB2.release` is called.
    """

    response: Response | None = None
    reset_after_bytes: int | None = None
    lose_response: bool = False
    cut_response: bool = False
    hang: bool = False


@dataclass(frozen=True)
class Request:
    """One write as it came in, and the status it got (0: none)."""

    bucket: str
    body: bytes
    headers: Mapping[str, str]
    query: Mapping[str, str]
    status: int
    connection: int  # port of the client: tells connections apart

    @property
    def lines(self) -> list[bytes]:
        """The lines of the body."""
        text = self.body
        if self.headers.get("Content-Encoding") == "gzip":
            text = gzip.decompress(text)
        return text.splitlines()


class InfluxDB2:
    """The server, on a free port of loopback.

    ``faults`` are taken by writes in turn; ``fault_for`` is called with each write's inflated text
    when there are none. ``requests`` are all writes with a body.
    """

    write_paths: tuple[str, ...] = ("/api/v2/write",)

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.faults: deque[Fault] = deque()
        self.fault_for: Callable[[bytes], Fault | None] = lambda _: None
        self.requests: list[Request] = []
        self.probes = 0
        self.lock = threading.Lock()
        self._released = threading.Event()
        owner = self

        class Handler(self.handler_class):  # type: ignore[misc, name-defined]
            server_owner = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def handler_class(self) -> type[Handler]:
        return Handler

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def speak_tls(self, context: SSLContext) -> None:
        """Take connections over TLS only, from now on."""
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )

    def release(self) -> None:
        """Let hanging requests end (without a response)."""
        self._released.set()

    def wait_released(self) -> None:
        self._released.wait(30)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Handler(BaseHTTPRequestHandler):
    server_owner: InfluxDB2
    protocol_version = "HTTP/1.1"
    timeout = 30
    wbufsize = 1 << 16  # a response is one packet: two would wait for each other

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = url.path
        if path == "/health":
            self.reply((200, {}, json.dumps({"name": "influxdb", "status": "pass"}).encode()))
        elif path == "/ping":
            self.reply((204, {}, b""))
        elif path == "/query":
            query = {name: values[-1] for name, values in parse_qs(url.query).items()}
            self.reply(self._query(query))
        else:
            self.reply(error_response(404, "not found", "path not found"))

    def _query(self, query: Mapping[str, str]) -> Response:
        """As a 2.7.12 was measured: a token that may not read gets what an empty bucket gives."""
        engine = self.server_owner.engine
        if self.headers.get("Authorization") != f"Token {engine.token}" or not engine.active:
            return error_response(401, "unauthorized", "unauthorized access")
        bucket = engine.buckets.get(query["db"])
        if bucket is None or not engine.may_read:
            return influxql.response([])
        return influxql.select(bucket, query["q"])

    def do_POST(self) -> None:
        owner = self.server_owner
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        length = int(self.headers.get("Content-Length", 0))
        if url.path not in owner.write_paths:
            self.rfile.read(length)
            self.reply(error_response(404, "not found", "path not found"))
            return
        with owner.lock:
            fault = owner.faults.popleft() if owner.faults and length else None
        if fault is not None and fault.reset_after_bytes is not None:
            self.rfile.read(min(length, fault.reset_after_bytes))
            self._note(query, b"", 0)
            self._reset()
            return
        body = self.rfile.read(length)
        if fault is None and length:
            fault = owner.fault_for(_inflated(body, self.headers.get("Content-Encoding")))
        if fault is not None and fault.hang:
            self._note(query, body, 0)
            owner.wait_released()
            self._reset()
            return
        if fault is not None and fault.response is not None:
            response = fault.response
        else:
            with owner.lock:
                response = owner.engine.write(query, dict(self.headers.items()), body)
        if length:
            lost = fault is not None and (fault.lose_response or fault.cut_response)
            self._note(query, body, 0 if lost else response[0])
        else:
            owner.probes += 1
        if fault is not None and fault.lose_response:
            self._reset()
            return
        self.reply(response, cut=fault is not None and fault.cut_response)

    def _note(self, query: Mapping[str, str], body: bytes, status: int) -> None:
        request = Request(
            query.get("bucket", query.get("db", "")),
            body,
            dict(self.headers.items()),
            query,
            status,
            self.client_address[1],
        )
        with self.server_owner.lock:
            self.server_owner.requests.append(request)

    def reply(self, response: Response, *, cut: bool = False) -> None:
        status, headers, body = response
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body) + 100 * cut))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)
        if cut:
            self.close_connection = True

    def _reset(self) -> None:
        """Close with RST, as a process that dies does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Detached, because the socket object would stay open for the sake of its two files.
        socket.socket(fileno=self.connection.detach()).close()
        self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            self.close_connection = True

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client went away, or we did
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def _inflated(body: bytes, encoding: str | None) -> bytes:
    try:
        return gzip.decompress(body) if encoding == "gzip" else body
    except (OSError, EOFError, zlib.error):
        return b""
