"""A request ends in time, however slowly its response comes, and however long that is."""

from __future__ import annotations

import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from common.errors import SourceError, SourceUnavailable
from common.source import query_api, transport
from services.extractor.prometheus import PrometheusClient
from tests.support.answering_server import AnsweringServer, Handler
from tests.support.dripping_server import Server, serving
from tests.unit.services.extractor.client.client_world import EXPR, NOW, client_of, failure

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HEADS = {
    "headers": (OK, b"X-A: b\r\n"),
    "one header": (OK + b"X-A: ", b"b"),
    "status line": (b"HTTP/1.1 20", b"0"),
    "nothing yet": (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
}
BODIES = {
    "length": (OK + b"Content-Length: 100000\r\n\r\n", b" "),
    "until the end": (OK + b"Connection: close\r\n\r\n", b" "),
    "chunks": (CHUNKED, b"1\r\n \r\n"),
    "one chunk's head": (CHUNKED + b"1;", b"x"),
    "error": (b"HTTP/1.1 500 Bad\r\nContent-Length: 100000\r\n\r\n", b" "),
}
WELL = OK + b"Content-Length: %d\r\n\r\n%s" % (len(NOW), NOW)


@pytest.fixture(autouse=True)
def short_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "RESPONSE_MARGIN_SECONDS", 0.1)
    monkeypatch.setattr(query_api, "PROBE_SECONDS", 0.3)


def _client(server: Server, scheme: str, **auth: object) -> PrometheusClient:
    return client_of(f"{scheme}://127.0.0.1:{server.port}", timeout=0.3, auth=auth)


def _now_ms(client: PrometheusClient) -> int:
    """The time-out is short for a busy machine: that it passes proves nothing."""
    while True:
        try:
            return client.now_ms()
        except SourceUnavailable as error:
            if " within " not in str(error):
                raise


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_response_that_drips_is_abandoned(scheme: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    tls = {"ca_file": str(ca_file)} if scheme == "https" else {}
    drips = {**HEADS, **BODIES}

    def dripping(what: str) -> None:
        with serving(*drips[what], context if tls else None) as server:
            client = _client(server, scheme, **tls)
            assert isinstance(failure(client), SourceUnavailable), what
            with pytest.raises(SourceUnavailable):
                client.now_ms()
            with pytest.raises(SourceUnavailable):
                client.lowest_timestamp_ms()
            # It is well again: nothing of the exchanges before is left in the connections.
            server.first, server.drip = WELL, b""
            client.close()
            for _ in range(3):
                assert _now_ms(client) > 0, what
            client.close()

    # All at once: each of them mostly waits.
    with ThreadPoolExecutor(len(drips)) as pool:
        list(pool.map(dripping, drips))


def test_through_a_proxy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(*HEADS["one header"]) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("no_proxy", "")
        assert "did not answer within" in str(failure(client_of("http://192.0.2.1", timeout=0.3)))


def test_what_is_under_way_ends_when_the_process_stops(server: AnsweringServer) -> None:
    asked = threading.Event()

    def answer(handler: Handler) -> None:
        asked.set()
        handler.server.closing.wait(30)

    server.answer = answer
    client = client_of(server.url)
    raised: list[SourceError] = []

    def read() -> None:
        for _ in range(2):
            try:
                list(client.read(EXPR, 0, 15_000))
            except SourceError as error:
                raised.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    assert asked.wait(10)
    client.stop()
    reading.join(10)
    assert ["as this process stops" in str(error) for error in raised] == [True, True]
