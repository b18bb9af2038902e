"""Everything that a source can respond: each has its one clear error."""

from __future__ import annotations

import re

import pytest

from common.config import ExtractSettings
from common.errors import (
    QueryRejected,
    QueryTooLarge,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from common.source.errors import reported_error
from services.extractor.prometheus import PrometheusClient
from tests.support.answering_server import AnsweringServer, Handler, reply
from tests.unit.services.extractor.client.client_world import (
    EXPR,
    MATRIX,
    NOW,
    client_of,
    error_body,
    failure,
)


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
def test_each_response_has_its_error(
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
        ({"Retry-After": "0"}, None),
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
            None,
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


def test_a_remark_is_reported_in_part_if_it_is_long(server: AnsweringServer) -> None:
    reported: list[str] = []
    server.answer = reply(MATRIX[:-1] + b',"warnings":["PromQL warning: %s"]}' % (b"x" * 10_000))
    settings = ExtractSettings.model_validate({"prometheus_url": server.url})
    client = PrometheusClient(settings, on_remark=lambda query, remark: reported.append(remark))
    assert sum(map(len, client.read(EXPR, 0, 15_000))) == 1_000
    assert [remark[:19] for remark in reported] == ["PromQL warning: xxx"]
    assert len(reported[0]) < 600


def test_a_reported_error_is_reported_in_one_readable_line() -> None:
    error = reported_error("timeout" + "e" * 10_000, "x" * 10_000)

    assert len(str(error)) < 600
