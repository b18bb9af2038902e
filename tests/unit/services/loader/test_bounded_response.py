"""However long a response of the sink is, little of it is read."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from common.sink.bounded_response import RESPONSE_BYTES_MAX
from services.loader.influx import InfluxSink
from services.loader.messages import quoted_lines
from services.loader.responses import Kind
from tests.doubles.loading import BUCKET, lines, load_settings, payload

BODY = payload(lines(100))
WRITTEN = b"HTTP/1.1 204 No Content\r\n\r\n"


class Server:
    """Responds to each request with ``first``, then with ``more`` again and again."""

    def __init__(self, first: bytes, more: bytes, context: ssl.SSLContext | None) -> None:
        self.first, self.more, self._context = first, more, context
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed at the end
            while True:
                plain, _ = self.socket.accept()
                threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with plain, suppress(OSError):  # the client has had enough
            context = self._context
            one = plain if context is None else context.wrap_socket(plain, server_side=True)
            with one:
                while self._request(one):
                    one.sendall(self.first)
                    while self.more:
                        one.sendall(self.more)

    def _request(self, connection: socket.socket) -> bool:
        read = b""
        while BODY not in read:
            if not (piece := connection.recv(1 << 16)):
                return False
            read += piece
            if read.startswith(b"GET ") and read.endswith(b"\r\n\r\n"):  # a ping
                connection.sendall(WRITTEN)
                read = b""
        return True


@contextmanager
def serving(first: bytes, more: bytes, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(first, more, context)
    try:
        yield server
    finally:
        server.socket.close()


def sink_of(server: Server, scheme: str = "http", **settings: object) -> InfluxSink:
    url = f"{scheme}://127.0.0.1:{server.port}"
    return InfluxSink(load_settings(url, timeout_seconds=30, **settings).influxdb, connections=1)


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
    first, more = ENDLESS[how]
    with serving(first, more, context) as server:
        sink = sink_of(server, scheme, ca_file=ca_file)
        tracemalloc.start()
        outcome = sink.write(BUCKET, BODY)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        # An answer that is no sink's: a pause, and never the points to blame.
        assert outcome.kind in (Kind.UNEXPECTED, Kind.REFUSED, Kind.FAILED)
        assert outcome.cause != "timeout"
        assert peak_bytes < 24 << 20
        server.first, server.more = WRITTEN, b""
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
        sink = sink_of(server)
        outcome = sink.write(BUCKET, BODY)
        sink.close()

    assert outcome.kind is Kind.POINTS
    assert 'm v="0' in quoted_lines(outcome.message)
    assert len(quoted_lines(outcome.message)) > 20_000
