"""Everything that a source can do wrong, done by a real server: each has its one clear error."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from common.config import ExtractSettings, Query
from common.errors import (
    QueryRejected,
    QueryTooLarge,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from services.extractor.prometheus import PrometheusClient
from services.extractor.source_errors import reported_error
from services.extractor.transport import AnswerTooSlow
from tests.support.answering_server import Answer, AnsweringServer, Handler, chunked, reply

EXPR = Query(name="q", expr='rate(x{a="b"}[1m])', step=15)

ONE = b'{"metric":{"a":"b"},"values":[[1700000000,"1"],[1700000015.5,"NaN"]]}'
MATRIX = b'{"status":"success","data":{"resultType":"matrix","result":[%s]}}' % b",".join(
    [ONE] * 500
)
NOW = b'{"status":"success","data":{"resultType":"scalar","result":[1,"1700000000.123"]}}'


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    with AnsweringServer(reply(MATRIX)) as server:
        yield server


def client_of(url: str, **more: object) -> PrometheusClient:
    return PrometheusClient(ExtractSettings.model_validate({"prometheus_url": url, **more}))


def failure(client: PrometheusClient) -> SourceError:
    """What reading raises; its message is one line and names the query."""
    with pytest.raises(SourceError) as raised:
        for _ in client.read(EXPR, 0, 15_000):
            pass
    message = str(raised.value)
    assert "asked for 'rate(x{a=\"b\"}[1m])'" in message
    assert "\n" not in message
    assert "object at 0x" not in message
    return raised.value


def error_body(error_type: str, text: str) -> bytes:
    return f'{{"status":"error","errorType":"{error_type}","error":"{text}"}}'.encode()


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (400, error_body("bad_data", "parse error"), QueryRejected, "bad_data: parse error"),
        (
            400,
            error_body("bad_data", "exceeded maximum resolution of 11,000 points per timeseries"),
            QueryTooLarge,
            "maximum resolution",
        ),
        (422, error_body("execution", "found duplicate series"), QueryRejected, "duplicate series"),
        (
            422,
            error_body("execution", "query processing would load too many samples into memory"),
            QueryTooLarge,
            "too many samples",
        ),
        (
            422,
            error_body("execution", "expanding series: store 1 is away"),
            SourceUnavailable,
            "expanding series",
        ),
        (
            422,
            error_body("422", "cannot select more than -search.maxSamplesPerQuery=1 samples"),
            QueryTooLarge,
            "search.maxSamples",
        ),
        (
            503,
            error_body("timeout", "query timed out in expression evaluation"),
            QueryTooLarge,
            "timed out in expression",
        ),
        (
            503,
            error_body("timeout", "query timed out in query queue"),
            SourceUnavailable,
            "query queue",
        ),
        (503, error_body("canceled", "query was canceled"), SourceUnavailable, "canceled"),
        (499, error_body("canceled", "context canceled"), SourceUnavailable, "canceled"),
        (503, error_body("unavailable", "TSDB not ready"), SourceUnavailable, "TSDB not ready"),
        (500, error_body("internal", "index is broken"), SourceUnavailable, "index is broken"),
        (503, error_body("503", "cannot reach vmstorage"), SourceUnavailable, "vmstorage"),
        (200, error_body("bad_data", "parse error"), QueryRejected, "parse error"),
        (401, b"Unauthorized", SourceRefused, "401.*credentials"),
        (403, b"<html>", SourceRefused, "403.*credentials"),
        (407, b"", SourceRefused, "407"),
        (404, b"404 page not found", SourceRefused, "404.*no Prometheus query API"),
        (405, b"", SourceRefused, "405.*no Prometheus query API"),
        (429, b"slow down", SourceUnavailable, "429"),
        (500, b"oops", SourceUnavailable, "500 with 'oops'"),
        (502, b"<html><h1>Bad Gateway", SourceUnavailable, "502 with '<html><h1>Bad Gateway'"),
        (503, b"Service Unavailable", SourceUnavailable, "503 with 'Service Unavailable'"),
        (400, b"<html>", SourceUnavailable, "400 with '<html>'"),
        (422, b'{"status":', SourceUnavailable, "422 with"),
        (204, b"", SourceUnavailable, "204 with ''"),
        (500, b"[" * 10_000, SourceUnavailable, "500 with"),
        (500, b"x" * 10_000_000, SourceUnavailable, "500 with"),
        (200, b"<!DOCTYPE html><title>Log in", SourceUnavailable, "JSON object: '<!DOCTYPE html"),
        (200, b"", SourceUnavailable, "ends in the middle"),
    ],
)
def test_each_answer_has_its_error(
    server: AnsweringServer, status: int, body: bytes, error: type[SourceError], words: str
) -> None:
    server.answer = reply(body, status)
    found = failure(client_of(server.url))
    assert type(found) is error
    assert found.args[0].startswith(f"Prometheus at {server.url}/api/v1/query_range ")
    assert re.search(words, str(found))
    assert len(str(found)) < 600


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        (
            {
                "Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT",
                "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            30.0,
        ),
        (
            {
                "Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT",
                "Date": "Wed, 21 Oct 2015 07:28:30 GMT",
            },
            0.0,
        ),
        (
            {
                "Retry-After": "Wed, 21 Oct 2015 07:28:30 -0000",
                "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            30.0,
        ),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "9" * 12}, 999_999_999_999.0),
        ({"Retry-After": "9" * 400}, None),
        *(
            ({"Retry-After": bad, "Date": "Wed, 21 Oct 2015 07:28:30 GMT"}, None)
            for bad in (
                "Wed, 21 Oct 99999999999 07:28:30 GMT",
                "Wed, 21 Oct 2015 07:28:30 +99999999999999999999",
                "1 Jan 0001 4503599627370496.5",
                ", ,",
                "",
            )
        ),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(
    server: AnsweringServer, status: int, headers: dict[str, str], seconds: float | None
) -> None:
    def answer(handler: Handler) -> None:
        # The server's own Date would stand beside the one of the test.
        handler.send_response_only(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()

    server.answer = answer
    found = failure(client_of(server.url))
    assert isinstance(found, SourceUnavailable)
    assert found.retry_after_seconds == seconds


def test_retry_after_of_a_reported_error(server: AnsweringServer) -> None:
    server.answer = reply(error_body("unavailable", "not ready"), 503, {"Retry-After": "3"})
    found = failure(client_of(server.url))
    assert isinstance(found, SourceUnavailable)
    assert found.retry_after_seconds == 3


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
def test_no_answer_at_all_is_asked_for_once_more(server: AnsweringServer, answer: Answer) -> None:
    server.answer = answer
    found = failure(client_of(server.url))
    assert type(found) is SourceUnavailable
    assert "cannot be reached" in str(found)
    assert len(server.requests) == 2


def test_the_second_answer_counts(server: AnsweringServer) -> None:
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
        for call in (client.now_ms, client.version, client.lowest_timestamp_ms):
            with pytest.raises(SourceUnavailable, match="Connection refused"):
                call()
        assert "Connection refused" in str(client.ready())


def test_a_name_that_does_not_exist() -> None:
    found = failure(client_of("http://prometheus.invalid:9090"))
    assert type(found) is SourceUnavailable
    assert "cannot be reached" in str(found)


def test_tls_where_there_is_none(server: AnsweringServer) -> None:
    found = failure(client_of(server.url.replace("http:", "https:")))
    assert type(found) is SourceUnavailable


def test_a_server_that_does_not_answer_but_is_there_has_too_large_a_query(
    server: AnsweringServer,
) -> None:
    def answer(handler: Handler) -> None:
        if handler.request_seen.params["query"] == "time()":
            reply(NOW)(handler)
        else:
            server.closing.wait(30)

    server.answer = answer
    found = failure(client_of(server.url, timeout=0.05))
    assert type(found) is QueryTooLarge
    assert "did not answer within" in str(found)


def test_a_proxy_that_gives_up_is_told_apart_in_the_same_way(server: AnsweringServer) -> None:
    def answer(handler: Handler) -> None:
        if handler.request_seen.params["query"] == "time()":
            reply(NOW)(handler)
        else:
            reply(b"<html>504 Gateway Time-out", 504)(handler)

    server.answer = answer
    assert type(failure(client_of(server.url))) is QueryTooLarge
    server.answer = reply(b"<html>504 Gateway Time-out", 504)
    assert type(failure(client_of(server.url))) is AnswerTooSlow


def test_a_server_that_answers_nothing_is_away(
    server: AnsweringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.extractor.transport.ANSWER_MARGIN_SECONDS", 0.1)

    def answer(handler: Handler) -> None:
        handler.server.closing.wait(30)

    server.answer = answer
    client = client_of(server.url, timeout=0.05)
    found = failure(client)
    assert isinstance(found, SourceUnavailable)
    assert "did not answer within" in str(found)
    assert "did not answer within" in str(client.ready())


def test_a_body_that_stops_coming(server: AnsweringServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.extractor.transport.ANSWER_MARGIN_SECONDS", 0.1)

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(MATRIX)))
        handler.end_headers()
        handler.wfile.write(MATRIX[:1000])
        handler.wfile.flush()
        server.closing.wait(30)

    server.answer = answer
    found = failure(client_of(server.url, timeout=0.05))
    assert type(found) is SourceUnavailable
    assert "broke off in the middle of its answer: timed out" in str(found)


def test_a_body_that_drips_is_given_up(server: AnsweringServer) -> None:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        # For ever, or until the client has had enough.
        while not server.closing.wait(0.001):
            handler.wfile.write(b"1\r\n \r\n")
            handler.wfile.flush()

    server.answer = answer
    seconds = iter(range(10_000))
    client = PrometheusClient(
        ExtractSettings(prometheus_url=server.url, timeout=20),
        monotonic=lambda: float(next(seconds)),
    )
    found = failure(client)
    assert type(found) is SourceUnavailable
    assert "no more than 21 bytes of its answer within 20 s" in str(found)


def test_a_slow_but_steady_body_is_fine(server: AnsweringServer) -> None:
    body = MATRIX.replace(ONE, ONE + b" " * 10_000)
    server.answer = chunked(body, chunk_bytes=30_000)
    seconds = iter(range(10_000))
    client = PrometheusClient(
        ExtractSettings(prometheus_url=server.url, timeout=20),
        monotonic=lambda: float(next(seconds)),
    )
    assert sum(map(len, client.read(EXPR, 0, 15_000))) == 1_000


def test_warnings_mean_that_nothing_may_be_committed(server: AnsweringServer) -> None:
    server.answer = reply(MATRIX[:-1] + b',"warnings":["store 2 timed out"]}')
    found = failure(client_of(server.url))
    assert type(found) is SourceUnavailable
    assert "store 2 timed out" in str(found)


def test_a_scalar_is_rejected_by_its_name(server: AnsweringServer) -> None:
    server.answer = reply(NOW)
    found = failure(client_of(server.url))
    assert type(found) is QueryRejected
    assert "answered with a scalar, not with series" in str(found)


@pytest.mark.parametrize(
    "body",
    [
        b'{"status":"success","data":{"resultType":"%s","result":[]}}' % (b"scalar" * 1_000),
        b'{"status":"success","data":{"resultType":[%s0],"result":[]}}' % (b"0," * 5_000),
        MATRIX[:-1] + b',"warnings":["%s"]}' % (rb"store 2\ntimed out; " * 1_000),
    ],
    ids=["type", "type that is a list", "warning"],
)
def test_no_message_is_as_long_as_the_server_likes(server: AnsweringServer, body: bytes) -> None:
    server.answer = reply(body)
    client = client_of(server.url)
    assert len(str(failure(client))) < 1_000
    with pytest.raises(SourceError) as raised:
        client.now_ms()
    assert len(str(raised.value)) < 1_000


def test_a_remark_is_told_in_part_if_it_is_long(server: AnsweringServer) -> None:
    told: list[str] = []
    server.answer = reply(MATRIX[:-1] + b',"warnings":["PromQL warning: %s"]}' % (b"x" * 10_000))
    settings = ExtractSettings.model_validate({"prometheus_url": server.url})
    client = PrometheusClient(settings, on_remark=lambda query, remark: told.append(remark))
    assert sum(map(len, client.read(EXPR, 0, 15_000))) == 1_000
    assert [remark[:19] for remark in told] == ["PromQL warning: xxx"]
    assert len(told[0]) < 600


def test_a_reported_error_is_told_in_one_readable_line() -> None:
    error = reported_error("timeout" + "e" * 10_000, "x" * 10_000)

    assert len(str(error)) < 600
