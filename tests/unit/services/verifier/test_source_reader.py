"""The plain reader of Prometheus, against responses that no healthy server gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import requests

from common.errors import QueryRejected, QueryTooLarge, SourceRefused, SourceUnavailable
from services.verifier.source import Source
from tests.unit.services.verifier.stub_server import Response, Stub


@pytest.fixture
def source(stub: Stub) -> Iterator[Source]:
    with closing(Source(stub.url + "/", requests.Session(), 5.0)) as opened:
        yield opened


def matrix(*series: dict[str, Any]) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "matrix", "result": list(series)}}


def test_samples_on_the_left_edge_belong_to_the_range_before(stub: Stub, source: Source) -> None:
    rows = [[1.0, "1"], [1.001, "2"], [2, "NaN"], [2.001, "4"]]
    histograms = [[when, {"count": "1"}] for when, _ in rows]
    stub.responds(matrix({"metric": {"a": "b"}, "values": rows, "histograms": histograms}))
    (series,) = source.read_select("m", 1_000, 2_000)
    assert series.labels == {"a": "b"}
    assert series.timestamps_ms.tolist() == [1_001, 2_000]
    assert [repr(value) for value in series.values.tolist()] == ["2.0", "nan"]
    assert series.histograms == 2
    assert stub.forms == [
        {"query": "m\n[1000ms]", "time": "2.000", "timeout": "5000ms", "partial_response": "false"}
    ]


def test_an_expression_is_evaluated_at_multiples_of_its_step(stub: Stub, source: Source) -> None:
    stub.responds(matrix())
    assert source.read_expr("e", 15_000, 15_000, 59_999) == []
    grid = {"start": "30.000", "end": "45.000", "step": "15.000"}
    assert stub.forms == [{"query": "e", **grid, "timeout": "5000ms", "partial_response": "false"}]


def test_a_range_without_a_step_sends_nothing(stub: Stub, source: Source) -> None:
    assert source.read_expr("e", 15_000, 15_000, 29_999) == []
    assert source.read_select("m", 5, 5) == []
    assert stub.forms == []


def test_what_is_too_large_is_halved_without_gap_or_overlap(stub: Stub, source: Source) -> None:
    def response(form: dict[str, str]) -> Response:
        start, end = (round(float(form[name]) * 1_000) for name in ("start", "end"))
        if end - start > 30_000:
            body = {"status": "error", "errorType": "execution", "error": "too many samples: x"}
            return 422, json.dumps(body).encode()
        rows = [[t / 1_000, str(t)] for t in range(start, end + 1, 10_000)]
        return 200, json.dumps(matrix({"metric": {}, "values": rows})).encode()

    stub.response = response
    series = source.read_expr("e", 10_000, 0, 300_000)
    times = [t for one in series for t in one.timestamps_ms.tolist()]
    assert times == list(range(10_000, 300_001, 10_000))


def test_raw_samples_are_halved_too(stub: Stub, source: Source) -> None:
    def response(form: dict[str, str]) -> Response:
        length = int(form["query"].split("[")[1].removesuffix("ms]"))
        if length > 2:
            body = {"status": "error", "errorType": "timeout", "error": "query timed out"}
            return 503, json.dumps(body).encode()
        end = round(float(form["time"]) * 1_000)
        rows = [[t / 1_000, str(t)] for t in range(end - length, end + 1)]
        return 200, json.dumps(matrix({"metric": {}, "values": rows})).encode()

    stub.response = response
    series = source.read_select("m", 100, 110)
    times = [t for one in series for t in one.timestamps_ms.tolist()]
    assert times == list(range(101, 111))


def test_what_cannot_be_halved_any_more_is_reported(stub: Stub, source: Source) -> None:
    stub.responds({"status": "error", "errorType": "execution", "error": "too many samples"}, 422)
    with pytest.raises(QueryTooLarge, match="too many samples"):
        source.read_expr("e", 10_000, 0, 50_000)
    with pytest.raises(QueryTooLarge, match="too many samples"):
        source.read_select("m", 0, 5)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b"", SourceRefused),
        (403, b"no", SourceRefused),
        (200, b"<html>login</html>", SourceUnavailable),
        (200, b'{"status": "succ', SourceUnavailable),
        (200, b"[]", SourceUnavailable),
        (500, b'{"status":"error","errorType":"internal","error":"x"}', SourceUnavailable),
        (429, b'{"status":"error","error":"slow down"}', SourceUnavailable),
        (400, b'{"status":"error","errorType":"bad_data","error":"parse"}', QueryRejected),
        (200, b'{"status":"success","warnings":["half"],"data":{}}', SourceUnavailable),
        (
            200,
            json.dumps({**matrix(), "warnings": ["PromQL warning: x", "half"]}).encode(),
            SourceUnavailable,
        ),
        (200, json.dumps({**matrix(), "isPartial": True}).encode(), SourceUnavailable),
        (
            200,
            b'{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}',
            QueryRejected,
        ),
        (200, b"[" * 30_000, SourceUnavailable),
        (200, b'{"status":"success"}', SourceUnavailable),
        (200, b'{"status":"success","data":[]}', SourceUnavailable),
        (200, b'{"status":"success","warnings":{"a":1},"data":{}}', SourceUnavailable),
        *(
            (200, json.dumps(matrix(odd)).encode(), SourceUnavailable)
            for odd in (
                {},
                {"metric": {}, "values": [[1]]},
                {"metric": {}, "values": [["1", "1"]]},
                {"metric": {}, "values": [[float("nan"), "1"]]},
                {"metric": {}, "values": [[1e300, "1"]]},
                {"metric": {}, "values": [[1, "one"]]},
            )
        ),
    ],
)
def test_odd_responses_of_prometheus_are_named(
    stub: Stub, source: Source, status: int, body: bytes, error: type[Exception]
) -> None:
    stub.responds(body, status)
    with pytest.raises(error) as caught:
        source.read_expr("e", 1_000, 0, 5_000)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("remarks", [["PromQL warning: x"], "PromQL info: y"])
def test_a_remark_on_the_query_leaves_the_response_whole(
    stub: Stub, source: Source, remarks: object
) -> None:
    stub.responds({**matrix({"metric": {}, "values": [[1, "5"]]}), "warnings": remarks})
    (series,) = source.read_expr("e", 1_000, 0, 5_000)
    assert series.values.tolist() == [5.0]


@pytest.mark.parametrize("result", [None, [], [1], [1, None], [1, "NaN"], [1, "+Inf"], {}])
def test_a_time_that_is_none_is_named(stub: Stub, source: Source, result: object) -> None:
    stub.responds({"status": "success", "data": {"resultType": "scalar", "result": result}})
    with pytest.raises(SourceUnavailable, match=f"{stub.url} sent JSON of an unknown"):
        source.now_ms()
