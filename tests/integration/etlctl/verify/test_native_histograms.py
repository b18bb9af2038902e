"""Native histograms in a real Prometheus: ``verify`` counts them as the extractor does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from common.config import ExtractSettings, Query
from common.source.http_session import source_session
from devtools.servers.prometheus_server import PrometheusServer
from services.extractor.prometheus import PrometheusClient
from services.verifier.expect import expect
from services.verifier.points import SeriesKey
from services.verifier.source import Source
from tests.support.remote_write import histogram, push, sample, series

FLAGS = ("--web.enable-remote-write-receiver", "--enable-feature=native-histograms")
QUERIES = (
    pytest.param(Query(name="rule", expr="x", step=1), id="expr"),
    pytest.param(Query(name="raw", select="x").bound(1, {}), id="select"),
)


def identify(labels: Mapping[str, str]) -> SeriesKey:
    return SeriesKey.of("x", labels)


@pytest.mark.parametrize("query", QUERIES)
def test_they_are_samples_of_the_source_that_are_dropped(
    make_prometheus: Callable[..., PrometheusServer], query: Query
) -> None:
    server = make_prometheus(flags=FLAGS)
    settings = ExtractSettings(prometheus_url=server.url)
    client = PrometheusClient(settings)
    source = Source(server.url, source_session(settings))
    end_ms = client.now_ms() // 1000 * 1000
    times = [end_ms - 1000 * second for second in range(60)][::-1]
    push(
        server,
        series({"__name__": "x", "n": "1"}, [sample(ms, 3) for ms in times]),
        series({"__name__": "x", "n": "2"}, [histogram(ms, 7) for ms in times]),
    )
    start_ms = times[9]  # open on the left

    if query.kind == "select":
        found = source.read_select(query.text, start_ms, end_ms)
    else:
        found = source.read_expr(query.text, query.step_ms, start_ms, end_ms)
    result = expect(found, identify)

    assert (result.source, result.dropped) == (100, {"native_histogram": 50})
    blocks = list(client.read(query, start_ms, end_ms))
    assert sum(len(block.histograms_ms) for block in blocks) == 50
