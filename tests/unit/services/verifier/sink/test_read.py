"""The plain reader of InfluxDB, against responses that no healthy server gives."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from math import inf
from typing import Any, Literal

import pytest
from pydantic import SecretStr

from common.config import InfluxSettings
from common.errors import SinkError, SinkSlow
from common.samples.layout import Place
from common.sink.http_session import SinkSession
from common.sink.select import quote
from devtools.servers.ports import free_port
from services.verifier.points import SeriesKey
from services.verifier.sink.read import Sink
from tests.unit.services.verifier.stub_server import Response, Stub


@pytest.fixture
def sink(stub: Stub) -> Iterator[Sink]:
    settings = InfluxSettings(
        url=stub.url + "/", org="o", bucket="db", token=SecretStr("s3cret"), timeout_seconds=5
    )
    with closing(Sink(SinkSession(settings, connections=1), "db")) as opened:
        yield opened


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
