"""What a server reports of itself, and what it means when it does not."""

from __future__ import annotations

import pytest

from common.errors import SourceUnavailable
from services.extractor.history import NO_SAMPLES_MS, ServerRun
from services.extractor.prometheus import PrometheusClient
from services.extractor.source.lowest_timestamp import UNREPORTED_SECONDS
from tests.support.answering_server import Handler, reply
from tests.unit.services.extractor.client.client_world import (
    MATRIX,
    NOW,
    Serve,
    client_of,
    client_settings,
)

NO_MATRIX = b'{"status":"success","data":{"resultType":"matrix","result":[]}}'


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 405, 501])
def test_a_refusal_means_that_the_server_does_not_report_it(serve: Serve, status: int) -> None:
    """Whatever stands before the server, and in whatever form."""
    refused = reply(b"")

    def answer(handler: Handler) -> None:
        (reply(MATRIX) if "/query" in handler.request_seen.path else refused)(handler)

    client = client_of(serve(answer).url)
    for body in (b"<html>no", b'{"status":"error","errorType":"bad_data","error":"no"}', b""):
        refused = reply(body, status, {"Location": "/login"})
        assert client.lowest_timestamp_ms() is None
        assert client.run() is None


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 520])
def test_metrics_that_fail_have_not_refused(serve: Serve, status: int) -> None:
    """Even if nothing else fails, and whatever they say."""
    failed = reply(b"")

    def answer(handler: Handler) -> None:
        (reply(MATRIX) if "/query" in handler.request_seen.path else failed)(handler)

    client = client_of(serve(answer).url)
    for body in (b"<html>no", b'{"status":"error","errorType":"timeout","error":"no"}', b""):
        failed = reply(body, status)
        with pytest.raises(SourceUnavailable):
            client.lowest_timestamp_ms()


@pytest.mark.parametrize("status", [500, 502])
def test_a_server_that_fails_to_tell_its_run_does_not_report_it(serve: Serve, status: int) -> None:
    assert client_of(serve(reply(b"<html>no", status)).url).run() is None


@pytest.mark.parametrize("status", [429, 503, 504])
def test_a_busy_server_has_not_refused(serve: Serve, status: int) -> None:
    client = client_of(serve(reply(b"later", status)).url)
    for request in (client.lowest_timestamp_ms, client.run):
        with pytest.raises(SourceUnavailable, match=str(status)):
            request()


def test_the_lowest_timestamp_stands_in_the_metrics(serve: Serve) -> None:
    server = serve(reply(b"<html>"))
    client = client_of(server.url)
    assert client.lowest_timestamp_ms() is None
    name = b"prometheus_tsdb_lowest_timestamp_seconds"
    for text, lowest_ms in ((b"1.7e+09", 1_700_000_000_000), (b"9.2e+15", NO_SAMPLES_MS)):
        server.answer = reply(b"# TYPE %s gauge\n%s_x 1\n%s %s\n" % (name, name, name, text))
        assert client.lowest_timestamp_ms() == lowest_ms
    # What is no time reports nothing: least of all that everything before it has expired.
    for text in (b"", b"x", b"NaN", b"+Inf", b"-Inf"):
        server.answer = reply(b"%s %s\n" % (name, text))
        assert client.lowest_timestamp_ms() is None


def test_the_run_of_a_server(serve: Serve) -> None:
    server = serve(reply(b""))
    client = client_of(server.url)
    for body in (b"<html>", b"[" * 60_000, b'{"data":{"startTime":"x"}}', b'{"data":[]}'):
        server.answer = reply(body)
        assert client.run() is None
    server.answer = reply(
        b'{"status":"success","data":{"startTime":"2026-01-01T00:00:00.5Z","CWD":"/",'
        b'"lastConfigTime":"2026-01-01T00:00:01Z","storageRetention":"15d or 5GiB"}}'
    )
    found = client.run()
    assert found == ServerRun("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:01Z", "15d or 5GiB")
    assert server.requests[-1].path == "/api/v1/status/runtimeinfo"


@pytest.mark.parametrize("status", [200, 404, 502])
def test_the_metrics_of_a_front_that_has_a_limit_are_not_read_each_time(
    serve: Serve, status: int
) -> None:
    """They may be megabytes, and each commit asks since when it answers."""
    seconds, limit_ms = 0.0, 1_699_000_000_000

    def answer(handler: Handler) -> None:
        seen = handler.request_seen
        if seen.path == "/metrics":
            reply(b"go_goroutines 12\n", status)(handler)
        elif seen.params["query"] == "time()":
            reply(NOW)(handler)
        else:
            reply(MATRIX if float(seen.params["end"]) * 1000 >= limit_ms else NO_MATRIX)(handler)

    server = serve(answer)
    client = PrometheusClient(client_settings(server.url), monotonic=lambda: seconds)

    def read() -> int:
        """How often they have been read until then."""
        lowest_ms = client.lowest_timestamp_ms()
        assert lowest_ms is not None
        assert limit_ms < lowest_ms < limit_ms + 60_000
        return [one.path for one in server.requests].count("/metrics")

    assert [read(), read()] == [1, 1]
    seconds += UNREPORTED_SECONDS - 1
    assert read() == 1
    seconds += 2
    assert [read(), read()] == [2, 2]
    client.close()
    assert read() == 3, "another server may answer"
