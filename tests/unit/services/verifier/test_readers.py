"""The plain readers of both servers, against responses that no healthy server gives."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from pydantic import SecretStr

from common.config import InfluxSettings
from common.errors import (
    QueryRejected,
    QueryTooLarge,
    SinkError,
    SinkSlow,
    SourceRefused,
    SourceUnavailable,
)
from common.samples.layout import Place
from common.sink.http_session import SinkSession
from common.sink.select import quote
from devtools.servers.ports import free_port
from services.verifier.points import SeriesKey
from services.verifier.sink.read import Sink
from services.verifier.source import Source

Response = tuple[int, bytes]


@dataclass
class Stub:
    """A server that responds as it was set up and records the forms it was sent."""

    url: str = ""
    response: Callable[[dict[str, str]], Response] = lambda form: (200, b"")
    forms: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def responds(self, body: object, status: int = 200) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.response = lambda form: (status, raw)


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self.respond(self.rfile.read(length).decode())

        def do_GET(self) -> None:
            self.respond(urlsplit(self.path).query)

        def respond(self, encoded: str) -> None:
            form = {k: v[0] for k, v in parse_qs(encoded).items()}
            stub.forms.append(form)
            stub.headers.append(dict(self.headers.items()))
            status, body = stub.response(form)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_port}"
    yield stub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def source(stub: Stub) -> Iterator[Source]:
    with closing(Source(stub.url + "/", requests.Session(), 5.0)) as opened:
        yield opened


@pytest.fixture
def sink(stub: Stub) -> Iterator[Sink]:
    settings = InfluxSettings(
        url=stub.url + "/", org="o", bucket="db", token=SecretStr("s3cret"), timeout_seconds=5
    )
    with closing(Sink(SinkSession(settings, connections=1), "db")) as opened:
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


def chunk(values: list[list[Any]], partial: bool, tags: dict[str, str] | None = None) -> bytes:
    series: dict[str, Any] = {"name": "m", "columns": ["time", "value"], "values": values}
    if tags is not None:
        series["tags"] = tags
    result: dict[str, Any] = {"statement_id": 0, "series": [series]}
    if partial:
        result["partial"] = True
    return json.dumps({"results": [result]}).encode() + b"\n"


def test_chunks_of_one_series_are_put_together(stub: Stub, sink: Sink) -> None:
    stub.responds(
        chunk([[1, 1], [2, 2.5]], True, {"a": "x", "b": ""})
        + chunk([[3, 3]], True, {"a": "x", "b": ""})
        + chunk([[1, 7]], False, {"a": "", "b": ""})
    )
    points = sink.read([Place("m")], 0, 10)
    assert points[SeriesKey.of("m", {"a": "x"})].timestamps_ms.tolist() == [1, 2, 3]
    assert points[SeriesKey.of("m", {"a": "x"})].values.tolist() == [1.0, 2.5, 3.0]
    assert points[SeriesKey.of("m", {})].values.tolist() == [7.0]
    (form,) = stub.forms
    assert form == {
        "db": "db",
        "epoch": "ms",
        "chunked": "true",
        "q": 'SELECT "value"::field FROM "m" WHERE time > 0 AND time <= 10000000 GROUP BY *',
    }
    assert stub.headers[0]["Authorization"] == "Token s3cret"


def test_a_server_that_refuses_messagepack_is_asked_in_json(stub: Stub, sink: Sink) -> None:
    whole = chunk([[1, 1]], False)
    stub.response = lambda form: (
        (200, whole) if stub.headers[-1]["Accept"] == "application/json" else (406, b"no")
    )
    for _ in range(2):
        (column,) = sink.read([Place("m")], 0, 10).values()
        assert column.values.tolist() == [1.0]
    packed, plain = "application/x-msgpack", "application/json"
    assert [headers["Accept"] for headers in stub.headers] == [packed, plain, plain]


def test_whole_numbers_keep_the_sign_of_zero_and_all_bits(stub: Stub, sink: Sink) -> None:
    stub.responds(
        b'{"results":[{"series":[{"name":"m","columns":["time","value"],'
        b'"values":[[1,-0],[2,0],[3,9223372036854775807],[4,5e-324]]}]}]}'
    )
    (column,) = sink.read([Place("m")], 0, 10).values()
    assert [repr(value) for value in column.values.tolist()] == [
        "-0.0",
        "0.0",
        "9.223372036854776e+18",
        "5e-324",
    ]


@pytest.mark.parametrize("language", ["influxql", "sql"])
def test_a_response_that_does_not_come_in_time_is_told_from_a_sink_that_is_away(
    stub: Stub, language: Literal["influxql", "sql"]
) -> None:
    over = threading.Event()

    def response(form: dict[str, str]) -> Response:
        over.wait(60)
        return 200, b""

    stub.response = response
    settings = InfluxSettings(
        url=stub.url, org="o", bucket="db", timeout_seconds=0.1, query_language=language
    )
    with closing(Sink(SinkSession(settings, connections=1), "db")) as slow:
        with pytest.raises(SinkSlow, match=r"did not respond within 0.1 s \(load.influxdb.time"):
            slow.read([Place("m")], 0, 1)
        over.set()
    gone = settings.model_copy(update={"url": f"http://127.0.0.1:{free_port()}"})
    with closing(Sink(SinkSession(gone, connections=1), "db")) as away:
        with pytest.raises(SinkError, match="cannot be reached") as found:
            away.read([Place("m")], 0, 1)
        assert not isinstance(found.value, SinkSlow)


@pytest.mark.parametrize(
    ("status", "error"), [(504, SinkSlow), (408, SinkSlow), (502, SinkError), (400, SinkError)]
)
@pytest.mark.parametrize("language", ["influxql", "sql"])
def test_what_a_proxy_has_no_time_for_is_too_slow_as_well(
    stub: Stub, language: Literal["influxql", "sql"], status: int, error: type[SinkError]
) -> None:
    stub.responds(b"gateway", status)
    settings = InfluxSettings(url=stub.url, org="o", bucket="db", query_language=language)
    with (
        closing(Sink(SinkSession(settings, connections=1), "db")) as sink,
        pytest.raises(SinkError, match=f"answers {status}") as found,
    ):
        sink.read([Place("m")], 0, 1)
    assert type(found.value) is error


def test_many_measurements_are_read_in_several_statements(stub: Stub, sink: Sink) -> None:
    stub.responds({"results": [{"statement_id": 0}]})
    assert sink.read((Place(f"m{n}") for n in range(450)), 0, 1) == {}
    assert [form["q"].count('"m') for form in stub.forms] == [200, 200, 50]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, chunk([[1, 1]], True), "cut its response short"),
        (
            200,
            b'{"results":[{"error":"database not found: db"}]}',
            "database not found: db .* or the token may not read it",
        ),
        (200, b'{"error":"parse"}', "parse"),
        (200, b"<html>", "something that is not JSON"),
        (200, b"[1]", "unknown document"),
        (200, b"[" * 30_000, "unknown document"),
        (500, b"[" * 30_000, "answers 500"),
        (200, b'{"results":[1]}', "unknown shape"),
        (200, b'{"results":["x"]}', "unknown shape"),
        (200, b'{"results":[{"series":null}]}', "unknown shape"),
        (200, b'{"results":[{"series":[{}]}]}', "unknown shape"),
        (200, b'{"results":[{"series":[{"name":"m","values":[[]]}]}]}', "unknown shape"),
        (200, b'{"results":[{"series":[{"name":"m","values":[[null,1]]}]}]}', "unknown shape"),
        (200, b'{"results":[{"series":[{"name":"m","values":[[1e400,1]]}]}]}', "unknown shape"),
        (
            200,
            b'{"results":[{"series":[{"name":"m","tags":["a"],"values":[[1,1]]}]}]}',
            "unknown shape",
        ),
        (401, b'{"code":"unauthorized","message":"unauthorized access"}', "unauthorized access"),
        (503, b"busy", "503"),
    ],
)
def test_odd_responses_of_influxdb_are_named(
    stub: Stub, sink: Sink, status: int, body: bytes, message: str
) -> None:
    stub.responds(body, status)
    with pytest.raises(SinkError, match=message):
        sink.read([Place("m")], 0, 10)


def test_a_server_that_is_not_influxdb_3_is_not_asked_how_long_it_keeps_points(
    stub: Stub, sink: Sink
) -> None:
    for body, status in ((b"", 204), ({"version": "2.7.12"}, 200), (b"not found", 404)):
        stub.responds(body, status)
        assert sink.silent_retention_seconds() == inf


def test_what_is_not_known_of_the_server_yet_is_no_retention(stub: Stub, sink: Sink) -> None:
    stub.responds({"version": "3.5.0"})  # and to the question, too
    assert sink.silent_retention_seconds() == 'status 200: {"version": "3.5.0"}'
    for status in (429, 503):
        stub.responds(b"later", status)
        with pytest.raises(SinkError, match=f"answers {status} to a ping: later"):
            sink.silent_retention_seconds()


@pytest.mark.parametrize(
    ("name", "quoted"),
    [("m", '"m"'), ('a"b', '"a\\"b"'), ("a\\b", '"a\\\\b"'), ("a\nb", '"a\\nb"')],
)
def test_identifiers_are_quoted(name: str, quoted: str) -> None:
    assert quote(name) == quoted
