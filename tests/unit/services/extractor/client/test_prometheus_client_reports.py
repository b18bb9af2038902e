"""What a server reports of itself, and what it means when it does not."""

from __future__ import annotations

import pytest

from common.errors import SourceUnavailable
from services.extractor.history import NO_SAMPLES_MS, ServerRun
from tests.support.answering_server import reply
from tests.unit.services.extractor.client.client_world import MATRIX, Serve, client_of


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 405, 500, 501, 502])
def test_a_refusal_means_that_the_server_does_not_report_it(serve: Serve, status: int) -> None:
    """Whatever stands before the server, and in whatever form."""
    server = serve(reply(b""))
    client = client_of(server.url)
    for body in (b"<html>no", b'{"status":"error","errorType":"bad_data","error":"no"}', b""):
        refused = reply(body, status, {"Location": "/login"})
        server.answer = lambda handler, refused=refused: (
            reply(MATRIX) if "/query" in handler.request_seen.path else refused
        )(handler)
        assert client.lowest_timestamp_ms() is None
        assert client.run() is None


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
