"""Everything that a connection to a source can do wrong, done by a real server."""

from __future__ import annotations

import socket

import pytest

from common.errors import (
    QueryTooLarge,
    SourceUnavailable,
)
from common.source.transport import ResponseTooSlow
from tests.support.answering_server import Answer, AnsweringServer, Handler, chunked, reply
from tests.unit.services.extractor.client.client_world import (
    EXPR,
    MATRIX,
    NOW,
    Serve,
    client_of,
    failure,
)


def cut_short(handler: Handler) -> None:
    """Promises a length and hangs up before."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(MATRIX)))
    handler.end_headers()
    handler.wfile.write(MATRIX[:-40])
    handler.hang_up()


def cut_short_at_the_very_end(handler: Handler) -> None:
    """The document is whole, but the server had more to say."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(MATRIX) + 1))
    handler.end_headers()
    handler.wfile.write(MATRIX)
    handler.hang_up()


def cut_short_without_length(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(MATRIX[: MATRIX.index(b"},{") + 1])
    handler.hang_up()


def reset_half_way(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(MATRIX)))
    handler.end_headers()
    handler.wfile.write(MATRIX[:1000])
    handler.reset()


def broken_chunk(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"ffff\r\n" + MATRIX[:1000])
    handler.hang_up()


def nonsense_chunk(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"<html>\r\n")
    handler.hang_up()


def broken_gzip(handler: Handler) -> None:
    reply(b"\x1f\x8b" + b"\x00" * 50, headers={"Content-Encoding": "gzip"})(handler)


@pytest.mark.parametrize(
    "answer",
    [
        cut_short,
        cut_short_at_the_very_end,
        cut_short_without_length,
        reset_half_way,
        chunked(MATRIX, ended=False),
        chunked(MATRIX[:-40], ended=False),
        broken_chunk,
        nonsense_chunk,
        broken_gzip,
    ],
)
def test_a_body_that_breaks_off_is_never_taken_for_whole(
    server: AnsweringServer, answer: Answer
) -> None:
    server.answer = answer
    client = client_of(server.url)
    found = failure(client)
    assert type(found) is SourceUnavailable
    assert "broke off in the middle" in str(found) or "ends in the middle" in str(found)
    # The client is as good as new.
    server.answer = reply(MATRIX)
    assert sum(map(len, client.read(EXPR, 0, 15_000))) == 1_000


@pytest.mark.parametrize("answer", [Handler.hang_up, Handler.reset])
def test_a_request_without_a_response_is_sent_once_more(
    server: AnsweringServer, answer: Answer
) -> None:
    server.answer = answer
    found = failure(client_of(server.url))
    assert type(found) is SourceUnavailable
    assert "cannot be reached" in str(found)
    assert len(server.requests) == 2


def test_the_second_response_counts(server: AnsweringServer) -> None:
    def answer(handler: Handler) -> None:
        if len(server.requests) == 1:
            handler.hang_up()
        else:
            reply(b"away", 503)(handler)

    server.answer = answer
    assert "503 with 'away'" in str(failure(client_of(server.url)))


def test_something_that_speaks_no_http(server: AnsweringServer) -> None:
    def answer(handler: Handler) -> None:
        handler.wfile.write(b"-ERR unknown command\r\n")
        handler.hang_up()

    server.answer = answer
    assert type(failure(client_of(server.url))) is SourceUnavailable


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        # Bound but not listening: nobody else can get the port meanwhile.
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        client = client_of(url)
        try:
            raise KeyError("what the caller was busy with")
        except KeyError:
            found = failure(client)
        assert type(found) is SourceUnavailable
        assert "cannot be reached: Connection refused" in str(found)
        for call in (client.now_ms, client.run, client.lowest_timestamp_ms):
            with pytest.raises(SourceUnavailable, match="Connection refused"):
                call()


def test_a_name_that_does_not_exist() -> None:
    found = failure(client_of("http://prometheus.invalid:9090"))
    assert type(found) is SourceUnavailable
    assert "cannot be reached" in str(found)


def test_tls_where_there_is_none(server: AnsweringServer) -> None:
    found = failure(client_of(server.url.replace("http:", "https:")))
    assert type(found) is SourceUnavailable


def test_a_server_that_does_not_answer_but_is_there_has_too_large_a_query(
    server: AnsweringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.source.query_api.PROBE_SECONDS", 30.0)

    def answer(handler: Handler) -> None:
        if handler.request_seen.params["query"] == "time()":
            reply(NOW)(handler)
        else:
            server.closing.wait(30)

    server.answer = answer
    found = failure(client_of(server.url, timeout=0.05))
    assert type(found) is QueryTooLarge
    assert "did not answer within" in str(found)


def test_a_proxy_that_gives_up_is_distinguished_in_the_same_way(server: AnsweringServer) -> None:
    def answer(handler: Handler) -> None:
        if handler.request_seen.params["query"] == "time()":
            reply(NOW)(handler)
        else:
            reply(b"<html>504 Gateway Time-out", 504)(handler)

    server.answer = answer
    assert type(failure(client_of(server.url))) is QueryTooLarge
    server.answer = reply(b"<html>504 Gateway Time-out", 504)
    assert type(failure(client_of(server.url))) is ResponseTooSlow


def test_a_server_that_answers_nothing_is_away(
    server: AnsweringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.source.transport.RESPONSE_MARGIN_SECONDS", 0.1)
    monkeypatch.setattr("common.source.query_api.PROBE_SECONDS", 0.1)

    def answer(handler: Handler) -> None:
        handler.server.closing.wait(30)

    server.answer = answer
    client = client_of(server.url, timeout=0.05)
    found = failure(client)
    assert isinstance(found, SourceUnavailable)
    assert "did not answer within" in str(found)
    with pytest.raises(SourceUnavailable, match="did not answer within"):
        client.now_ms()


def test_a_body_that_stops_coming(server: AnsweringServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.source.transport.RESPONSE_MARGIN_SECONDS", 0.1)
    monkeypatch.setattr("common.source.query_api.PROBE_SECONDS", 0.1)

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(MATRIX)))
        handler.end_headers()
        handler.wfile.write(MATRIX[:1000])
        handler.wfile.flush()
        server.closing.wait(30)

    server.answer = answer
    found = failure(client_of(server.url, timeout=0.05))
    assert isinstance(found, SourceUnavailable)
    assert "sent 1000 bytes and not the end of its response within 0.05 s" in str(found)


def test_a_cookie_of_a_balancer_is_sent_back(serve: Serve) -> None:
    server = serve(reply(NOW, headers={"Set-Cookie": "server=second; Path=/"}))
    client = client_of(server.url)
    client.now_ms()
    client.now_ms()
    assert [request.headers.get("Cookie") for request in server.requests] == [None, "server=second"]
