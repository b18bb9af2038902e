"""What went wrong with a connection, in words that name no library's class."""

from __future__ import annotations

import pytest

from common.errors import SourceError, SourceRefused
from services.extractor.prometheus import PrometheusClient
from tests.support.answering_server import AnsweringServer, Handler, reply
from tests.unit.services.extractor.client.client_world import client_of, error_body, failure

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (CHUNKED + b"zz\r\nabc", "its chunked encoding is broken"),
        (CHUNKED + b"5\r\nab", "its chunked encoding is broken, or ends in the middle"),
        (OK + b"Content-Length: 100\r\n\r\nabcde", "it ended after 5 bytes, 95 before its length"),
        (
            OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde",
            "its compressed body is broken",
        ),
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP: it sent 'SSH-2.0-OpenSSH'"),
        (b"HTTP/9.1 200 OK\r\n\r\n", "does not speak HTTP: it sent 'HTTP/9.1'"),
        (b"", "it closed the connection without a response"),
        (OK + b"A: " + b"x" * 70_000, "head of its response has a line of more than 64 KiB"),
        (OK + b"A: b\r\n" * 300, "head of its response has more than 100 lines"),
    ],
)
def test_a_broken_response_is_described_plainly(
    server: AnsweringServer, response: bytes, words: str
) -> None:
    def answer(handler: Handler) -> None:
        handler.wfile.write(response)
        handler.hang_up()

    server.answer = answer
    message = str(failure(client_of(server.url)))
    assert words in message
    for name in ("IncompleteRead", "InvalidChunkLength", "Exception", "urllib3", "Error -3"):
        assert name not in message


def test_a_server_without_tls_is_named_as_such(server: AnsweringServer) -> None:
    message = str(failure(client_of(server.url.replace("http:", "https:"))))
    assert "cannot be reached: what answers does not speak TLS (https)" in message


def test_a_proxy_that_is_away_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert "the proxy: Connection refused" in str(failure(client_of("http://192.0.2.1:9090")))


@pytest.mark.parametrize("status", [401, 403, 407])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"not known here\n", "'not known here'"),
        (error_body("bad_data", "not known here"), "'not known here'"),
        (b"", "no reason"),
        (b"x" * 100_000, "'" + "x" * 300 + "'"),
    ],
)
def test_a_refusal_is_quoted(server: AnsweringServer, status: int, body: bytes, words: str) -> None:
    server.answer = reply(body, status)
    error = failure(client_of(server.url))
    assert type(error) is SourceRefused
    assert f"answered {status} with {words}" in str(error)
    assert "credentials (extract.auth)" in str(error)


def test_a_refusal_that_repeats_our_token_does_not_show_it(server: AnsweringServer) -> None:
    server.answer = reply(b"unknown token s3cret-token!", 401)
    client = client_of(server.url, auth={"bearer_token": "s3cret-token"})
    assert _refused(client) == "answered 401 with 'unknown token …!'"


def _refused(client: PrometheusClient) -> str:
    with pytest.raises(SourceError) as raised:
        client.now_ms()
    before, _, _ = str(raised.value).partition(": it does not accept")
    return before[before.index("answered") :]
