"""Verify reads wherever the extractor does: each response means the same for both."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from common.config import ExtractSettings, Query
from common.errors import (
    QueryRejected,
    QueryTooLarge,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from common.source import query_api
from common.source.http_session import source_session
from services.extractor.prometheus import PrometheusClient
from services.verifier import source as verify_source
from services.verifier.source import Source
from tests.support.answering_server import Answer, AnsweringServer, Handler, reply
from tests.support.source_refusals import REFUSALS, Refusal

EXPR = Query(name="q", expr="x", step=15)
START_MS, END_MS = 1_700_000_000_000 // 15_000 * 15_000, 1_700_000_060_000 // 15_000 * 15_000
TIMES = range(START_MS + 15_000, END_MS + 1, 15_000)


def success(data: object, **more: object) -> bytes:
    return json.dumps({"status": "success", "data": data, **more}).encode()


_SETTINGS = ExtractSettings(prometheus_url="http://prometheus:9090")
NOW = success({"resultType": "scalar", "result": [1, "1700000000.123"]})


def matrix(start_ms: int, end_ms: int) -> bytes:
    rows = [[t / 1_000, str(t)] for t in range(start_ms, end_ms + 1, 15_000)]
    return success({"resultType": "matrix", "result": [{"metric": {"a": "b"}, "values": rows}]})


Read = Callable[[str, int, int], list[tuple[int, float]]]


def by_extractor(url: str, start_ms: int, end_ms: int) -> list[tuple[int, float]]:
    settings = ExtractSettings.model_validate({"prometheus_url": url, "timeout": 5})
    with closing(PrometheusClient(settings)) as client:
        blocks = list(client.read(EXPR, start_ms, end_ms))
    return [
        (int(t), float(v)) for b in blocks for t, v in zip(b.timestamps_ms, b.values, strict=True)
    ]


def by_verify(url: str, start_ms: int, end_ms: int) -> list[tuple[int, float]]:
    with closing(Source(url, source_session(_SETTINGS), 5.0)) as source:
        series = source.read_expr("x", 15_000, start_ms, end_ms)
    return [
        (int(t), float(v)) for s in series for t, v in zip(s.timestamps_ms, s.values, strict=True)
    ]


@pytest.fixture(params=[by_extractor, by_verify])
def read(request: pytest.FixtureRequest) -> Read:
    function: Read = request.param
    return function


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    with AnsweringServer(reply(NOW)) as server:
        yield server


def source_of(server: AnsweringServer, timeout_seconds: float = 5.0) -> Source:
    return Source(server.url, source_session(_SETTINGS), timeout_seconds)


def or_time(answer: Answer) -> Answer:
    """``answer`` to every query but ``time()``."""

    def both(handler: Handler) -> None:
        is_time = handler.request_seen.params.get("query") == "time()"
        (reply(NOW) if is_time else answer)(handler)

    return both


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda one: one.text[:60])
def test_a_refusal_means_the_same_for_both(
    server: AnsweringServer, read: Read, refusal: Refusal
) -> None:
    body = {"status": "error", "errorType": refusal.error_type, "error": refusal.text}
    server.answer = or_time(reply(json.dumps(body).encode(), refusal.status))
    with pytest.raises(SourceError) as caught:
        read(server.url, START_MS, START_MS + 15_000)
    assert type(caught.value) is refusal.meaning
    assert refusal.text[:40] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (504, b"<html>Gateway Time-out", QueryTooLarge),  # as it answers time() meanwhile
        (502, b"<html>Bad Gateway", SourceUnavailable),
        (429, b"slow down", SourceUnavailable),
        (401, b"who", SourceRefused),
        (404, b"404 page not found", SourceRefused),
        (302, b"", SourceRefused),
        (200, success({"resultType": "scalar", "result": [1, "1"]}), QueryRejected),
        (200, success({"resultType": "matrix", "result": []}, warnings=["a"]), SourceUnavailable),
        (200, success({"resultType": "matrix", "result": []}, isPartial=True), SourceUnavailable),
        (200, success({"resultType": "matrix", "result": [], "warnings": [{}]}), SourceUnavailable),
        (400, b"the query time range exceeds the limit (query length: 2h)", QueryTooLarge),
    ],
)
def test_a_status_means_the_same_for_both(
    server: AnsweringServer, read: Read, status: int, body: bytes, error: type[SourceError]
) -> None:
    server.answer = or_time(reply(body, status))
    with pytest.raises(SourceError) as caught:
        read(server.url, START_MS, START_MS + 15_000)
    assert type(caught.value) is error


def test_a_gateway_that_times_out_for_everything_is_away(
    server: AnsweringServer, read: Read
) -> None:
    server.answer = reply(b"<html>Gateway Time-out", 504)
    with pytest.raises(SourceUnavailable):
        read(server.url, START_MS, START_MS + 15_000)


@pytest.mark.parametrize("refusal", [one for one in REFUSALS if one.meaning is QueryTooLarge][::4])
def test_verify_halves_what_is_too_large(server: AnsweringServer, refusal: Refusal) -> None:
    error = {"status": "error", "errorType": refusal.error_type, "error": refusal.text}

    def answer(handler: Handler) -> None:
        params = handler.request_seen.params
        start_ms, end_ms = (round(float(params[name]) * 1_000) for name in ("start", "end"))
        if end_ms > start_ms:
            reply(json.dumps(error).encode(), refusal.status)(handler)
        else:
            reply(matrix(start_ms, end_ms))(handler)

    server.answer = answer
    assert by_verify(server.url, START_MS, END_MS) == [(t, float(t)) for t in TIMES]


@pytest.mark.parametrize("status", [403, 405])
def test_a_front_that_refuses_forms_is_asked_by_address(
    server: AnsweringServer, status: int
) -> None:
    def answer(handler: Handler) -> None:
        seen = handler.request_seen
        if seen.method == "POST":
            reply(b"<html>not allowed", status)(handler)
        elif "query" in seen.params and seen.params["query"] != "time()":
            reply(matrix(START_MS + 15_000, END_MS))(handler)
        else:
            reply(NOW)(handler)

    server.answer = answer
    long = Query(name="q", expr=f"x + {'0 + ' * 1_000}0", step=15)
    expected = [(t, float(t)) for t in TIMES]
    settings = ExtractSettings.model_validate({"prometheus_url": server.url})
    with closing(PrometheusClient(settings)) as client, closing(source_of(server)) as source:
        for _ in range(2):
            (block,) = client.read(long, START_MS, END_MS)
            assert block.timestamps_ms.tolist() == [t for t, _ in expected]
            (series,) = source.read_expr(long.text, 15_000, START_MS, END_MS)
            assert series.timestamps_ms.tolist() == [t for t, _ in expected]
    # A short query is asked by address, a long one too once that was found out.
    assert [seen.method for seen in server.requests] == ["POST", "GET"] * 2 + ["GET"] * 2
    assert by_verify(server.url, START_MS, END_MS) == expected


def test_a_query_that_is_refused_in_both_ways_says_why(server: AnsweringServer, read: Read) -> None:
    server.answer = reply(b"no", 403)
    with pytest.raises(SourceRefused, match=r"403.*does not accept our credentials"):
        read(server.url, START_MS, END_MS)


@pytest.mark.parametrize(
    "data",
    [
        {"resultType": "scalar", "result": [1700000000, "1700000000.123"]},
        # VictoriaMetrics
        {
            "resultType": "vector",
            "result": [{"metric": {}, "value": [1700000000, "1700000000.123"]}],
        },
    ],
)
def test_the_time_is_a_scalar_or_a_vector_of_one(
    server: AnsweringServer, data: dict[str, object]
) -> None:
    server.answer = reply(success(data))
    with closing(source_of(server)) as source:
        assert source.now_ms() == 1_700_000_000_123


@pytest.mark.parametrize("result", [[], [{"metric": {}}], [{"value": [1, "1"]}] * 2, None])
def test_a_vector_that_is_no_time_is_named(server: AnsweringServer, result: object) -> None:
    server.answer = reply(success({"resultType": "vector", "result": result}))
    with closing(source_of(server)) as source, pytest.raises(SourceUnavailable, match="unknown"):
        source.now_ms()


def test_warnings_about_names_do_not_fail_them(server: AnsweringServer) -> None:
    """Prometheus with remote_read: storage/remote/read.go implements no label values."""
    server.answer = reply(success(["up", "x"], warnings=["not implemented"]))
    with closing(source_of(server)) as source:
        assert source.metric_names('{job="a"}') == ["up", "x"]
    (seen,) = server.requests
    assert seen.path == "/api/v1/label/__name__/values"
    assert seen.params == {"match[]": '{job="a"}', "start": "1", "timeout": "5000ms"}


@pytest.mark.parametrize("status", [403, 404, 405])
def test_names_are_queried_for_where_labels_are_not_served(
    server: AnsweringServer, status: int
) -> None:
    def answer(handler: Handler) -> None:
        if handler.request_seen.path.startswith("/api/v1/label/"):
            reply(b"no", status)(handler)
        else:
            one = {"metric": {"__name__": "up"}, "value": [1, "1"]}
            reply(success({"resultType": "vector", "result": [one]}))(handler)

    server.answer = answer
    with closing(source_of(server)) as source:
        assert source.metric_names("{job='a'} # up") == ["up"]
    assert server.requests[-1].params["query"] == "group by (__name__) ({job='a'} # up\n)"


@pytest.mark.parametrize(
    ("lowest", "expected_ms"),
    [
        (b"1.7e+09", 1_700_000_000_000),
        (b"1.700000000123e+09", 1_700_000_000_123),
        (b"9.223372036854776e+15", 0),  # a database without samples
        (b"NaN", 0),
        (b"+Inf", 0),
        (b"soon", 0),
        (b"", 0),
    ],
)
def test_the_oldest_time(server: AnsweringServer, lowest: bytes, expected_ms: int) -> None:
    name = b"prometheus_tsdb_lowest_timestamp_seconds"
    server.answer = reply(b"# HELP %s x\n%s %s\n" % (name, name, lowest))
    with closing(source_of(server)) as source:
        assert source.oldest_ms() == expected_ms


def test_an_oldest_time_that_is_not_shown_is_not_known(server: AnsweringServer) -> None:
    server.answer = reply(b"no", 403)
    with closing(source_of(server)) as source:
        assert source.oldest_ms() == 0
    server.answer = reply(b"later", 503)
    with closing(source_of(server)) as source, pytest.raises(SourceUnavailable):
        source.oldest_ms()


def test_a_response_without_end_is_cut_and_halved(
    server: AnsweringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_source, "BODY_BYTES", 100_000)
    monkeypatch.setattr(query_api, "PROBE_SECONDS", 30.0)

    def answer(handler: Handler) -> None:
        params = handler.request_seen.params
        if params["start"] == params["end"]:
            at_ms = round(float(params["end"]) * 1_000)
            reply(matrix(at_ms, at_ms))(handler)
            return
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b" " * 10_000)

    server.answer = or_time(answer)
    found = by_verify(server.url, START_MS, END_MS)
    assert found == [(t, float(t)) for t in TIMES]


def test_a_response_that_drips_ends_with_the_time_out(
    server: AnsweringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_api, "PROBE_SECONDS", 30.0)

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not handler.server.closing.wait(0.05):
            handler.wfile.write(b" ")

    server.answer = or_time(answer)
    with closing(source_of(server, 0.5)) as source, pytest.raises(QueryTooLarge, match="end"):
        source.read_expr("x", 15_000, START_MS, START_MS + 15_000)


def test_both_readers_have_the_same_bits(server: AnsweringServer) -> None:
    values = ["0.1", "-0", "5e-324", "1.7976931348623157e308"]
    rows = [[t / 1_000, value] for t, value in zip(TIMES, values, strict=True)]
    one = {"metric": {}, "values": rows}
    server.answer = reply(success({"resultType": "matrix", "result": [one]}))
    theirs, ours = (f(server.url, START_MS, END_MS) for f in (by_extractor, by_verify))
    assert [(t, struct.pack("<d", v)) for t, v in theirs] == [
        (t, struct.pack("<d", v)) for t, v in ours
    ]
