"""A post ends in time, however slowly its response comes."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from common.runtime.exchange import Exchange
from services.loader.influx import InfluxSink
from services.loader.responses import Kind, Outcome
from tests.doubles.loading import BUCKET, lines, load_settings, payload
from tests.support.dripping_server import Server, serving

BODY = payload(lines(100))
WRITTEN = b"HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n"


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
            while is_too_slow(outcome := sink.write(BUCKET, BODY)):
                pass  # the time-out is short for a busy machine: that it passes proves nothing
            assert outcome.kind is Kind.WRITTEN, what
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
