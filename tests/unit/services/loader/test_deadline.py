"""A post ends in time, however slowly its response comes."""

from __future__ import annotations

import gzip
import re
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from services.loader.bounded_response import RESPONSE_BYTES_MAX
from services.loader.deadline import Exchange
from services.loader.influx import InfluxSink
from services.loader.messages import quoted_lines
from services.loader.responses import Kind, Outcome
from tests.doubles.loading import BUCKET, lines, load_settings, payload

BODY = payload(lines(100))
WRITTEN = b"HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n"
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


def sink_of(server: Server, scheme: str = "http", **settings: object) -> InfluxSink:
    url = f"{scheme}://127.0.0.1:{server.port}"
    loading = load_settings(url, **{"timeout_seconds": 0.2, **settings})
    return InfluxSink(loading.influxdb, connections=1)


def is_too_slow(outcome: Outcome) -> bool:
    return (outcome.kind, outcome.cause) == (Kind.FAILED, "timeout")


DRIPS = {
    "headers": (b"HTTP/1.1 204 No Content\r\n", b"X-A: b\r\n"),
    "one header": (b"HTTP/1.1 204 No Content\r\nX-A: ", b"b"),
    "status line": (b"HTTP/1.1 20", b"4"),
    "body": (b"HTTP/1.1 400 Bad\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "body until the end": (b'HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n{"code":', b" "),
    "chunks": (b"HTTP/1.1 500 Bad\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "nothing yet": (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_response_that_drips_is_a_time_out(scheme: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    tls = {"ca_file": str(ca_file)} if scheme == "https" else {}

    def dripping(what: str) -> None:
        with serving(*DRIPS[what], context if tls else None) as server:
            sink = sink_of(server, scheme, **tls)
            assert is_too_slow(sink.write(BUCKET, BODY)), what
            assert is_too_slow(sink.probe(BUCKET)), what

            # The sink is well again: nothing of the exchanges before is left in its connections.
            server.first, server.drip = WRITTEN, b""
            assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN, what
            sink.close()

    # All at once: each of them mostly waits.
    with ThreadPoolExecutor(len(DRIPS)) as pool:
        list(pool.map(dripping, DRIPS))


def test_a_handshake_that_never_ends_is_a_time_out() -> None:
    # The head of a TLS record that goes on and on.
    with serving(b"\x16\x03\x03\x3f\xff", b"\x00") as server:
        sink = sink_of(server, "https")
        assert is_too_slow(sink.write(BUCKET, BODY))
        sink.close()


def test_a_connection_outlives_the_time_of_an_exchange_that_is_over() -> None:
    with serving(WRITTEN, b"") as server:
        sink = sink_of(server, timeout_seconds=30)
        for _ in range(3):
            assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN
        sink.close()
        assert server.connections == 1


BOMB = gzip.compress(b"x" * (300 << 20), 9)  # 300 KB that inflate to 300 MB
ENDLESS = {
    "until the end": (b"HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n", b"x" * (1 << 20)),
    "length": (b"HTTP/1.1 500 Bad\r\nContent-Length: 99999999999\r\n\r\n", b"x" * (1 << 20)),
    "chunks": (
        b"HTTP/1.1 401 Bad\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"100000\r\n" + b"x" * (1 << 20) + b"\r\n",
    ),
    "success": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x" * (1 << 20)),
    "inflating": (
        b"HTTP/1.1 400 Bad\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: %d\r\n\r\n" % len(BOMB) + BOMB,
        b"",
    ),
}


@pytest.fixture(name="tls")
def tls_(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return context, str(tmp_path / "ca.pem")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("how", ENDLESS)
def test_of_a_response_without_end_little_is_read(
    scheme: str, how: str, tls: tuple[ssl.SSLContext, str]
) -> None:
    context, ca_file = (tls[0], tls[1]) if scheme == "https" else (None, None)
    first, drip = ENDLESS[how]
    with serving(first, drip, context) as server:
        sink = sink_of(server, scheme, timeout_seconds=30, ca_file=ca_file)
        tracemalloc.start()
        outcome = sink.write(BUCKET, BODY)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        # An answer that is no sink's: a pause, and never the points to blame.
        assert outcome.kind in (Kind.UNEXPECTED, Kind.REFUSED, Kind.FAILED)
        assert outcome.cause != "timeout"
        assert peak_bytes < 24 << 20
        server.first, server.drip = WRITTEN, b""
        assert sink.write(BUCKET, BODY).kind is Kind.WRITTEN
        sink.close()


@pytest.mark.parametrize("prefix", [b'{"code":"invalid","message":"', b'{"error":"'])
def test_a_sinks_own_message_that_is_cut_still_speaks_of_points(prefix: bytes) -> None:
    # 2.x quotes each bad line of a post, which may have 100,000.
    said = b"\\n".join(b"unable to parse 'm v=\\\"%d': missing fields" % i for i in range(40_000))
    body = prefix + said + b'"}'
    assert len(body) > RESPONSE_BYTES_MAX
    head = b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n" % len(body)
    with serving(head + body, b"") as server:
        sink = sink_of(server, timeout_seconds=30)
        outcome = sink.write(BUCKET, BODY)
        sink.close()

    assert outcome.kind is Kind.POINTS
    assert 'm v="0' in quoted_lines(outcome.message)
    assert len(quoted_lines(outcome.message)) > 20_000


@pytest.mark.parametrize("over", [True, False])
def test_time_that_runs_out_afterwards_harms_no_connection(over: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        exchange = Exchange()
        exchange.watch(ours)
        if over:
            exchange.end()
        else:
            theirs.sendall(b"x")

        exchange.expire()

        assert exchange.expired != over
        if over:
            theirs.sendall(b"x")
        assert ours.recv(1) == b"x"
        if not over:
            assert ours.recv(1) == b""
        exchange.end()
