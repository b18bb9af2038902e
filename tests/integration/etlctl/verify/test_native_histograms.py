"""Native histograms in a real Prometheus: ``verify`` counts or compares them, as is configured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from common.config import ExtractSettings, Query, load_settings
from common.source.http_session import source_session
from devtools.servers.prometheus_server import PrometheusServer
from services.extractor.prometheus import PrometheusClient
from services.verifier.expect import expect
from services.verifier.points import SeriesKey
from services.verifier.source import Source
from tests.integration.etlctl.verify.test_layouts import loaded
from tests.integration.etlctl.verify.world import STEP_MS, World
from tests.support.remote_write import float_histogram, histogram, push, sample, series

Capture = pytest.CaptureFixture[str]
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


CARRYING = {"name": "raw", "select": '{job="app"}', "native_histograms": "classic"}
SAMPLES = 100
HUGE = 2.0**60


@pytest.fixture
def native(world: World, make_prometheus: Callable[..., PrometheusServer]) -> World:
    """Half an hour of histograms, within the last hour."""
    server = make_prometheus(flags=FLAGS)
    start_ms = (int(time.time()) - 3_700) // 15 * 15_000
    times = [start_ms + 3_000_000 - STEP_MS * n for n in range(SAMPLES)][::-1]
    half = SAMPLES // 2

    def wide(ms: int) -> bytes:
        negative, positive = {1: 2.0, 2: 1.0}, {0: 1.0, 3: HUGE, 4: 0.5}
        return float_histogram(
            ms, count=HUGE, total=-0.25, zeros=4.0, negative=negative, positive=positive
        )

    push(
        server,
        series(
            {"__name__": "grows", "job": "app"},
            [histogram(ms, 2 + n) for n, ms in enumerate(times)],
        ),
        series(
            {"__name__": "turns", "job": "app"},
            [
                *(sample(ms, 0.5) for ms in times[:half]),
                *(histogram(ms, 7) for ms in times[half:]),
            ],
        ),
        series(
            {"__name__": "wide", "job": "app", "zone": "a b"},
            [wide(ms) for ms in times],
        ),
        series(
            {"__name__": "empty", "job": "app"},
            [float_histogram(ms, count=0.0, total=float("nan")) for ms in times],
        ),
    )
    return replace(world, prometheus=server, start_ms=start_ms, queries=[CARRYING])


LAYOUTS: list[dict[str, Any]] = [{}, {"preset": "telegraf_v2"}, {"histograms": "fields"}]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_each_bucket_is_compared(native: World, capsys: Capture, layout: dict[str, Any]) -> None:
    native.changes = {"load.layout": layout}
    (digest,) = loaded(native, load_settings(native.config())).values()
    # Count, sum, bounds, +Inf: of "wide" -4, -2, -1 (of none), -0.25 to 0.25, 0.5, 1, 4, 8, 16.
    points = SAMPLES * 6 + SAMPLES // 2 * (1 + 6) + SAMPLES * (3 + 10) + SAMPLES * 2
    result = native.verify(capsys, "--json")
    assert result.code == 0, result.out + result.err
    found = result.query()
    assert found["equal"] == found["expected"] == found["found"] == digest.points == points
    assert found["dropped"] == {"nan": SAMPLES}

    native.write_raw(
        f"etl_seal,pipeline={native.namespace},query=raw,tier=hot"
        f' start_ms={native.start_ms}i,points={digest.points}i,digest="{digest.text}",'
        f"sealed_ms={native.end_ms}i {native.end_ms}"
    )
    assert native.run(capsys, "verify", "--sealed").code == 0

    at_ms = native.start_ms + 3_000_000
    for bound in (4, 7):
        line = f"wide_bucket,job=app,le={bound},zone=a\\ b value=1"
        if layout.get("preset"):
            line = f"prometheus,job=app,le={bound},zone=a\\ b wide_bucket=1"
        if layout.get("histograms"):
            line = f"wide,job=app,zone=a\\ b {bound}=1"
        native.write_raw(f"{line} {at_ms}")
    result = native.verify(capsys, "--json")
    assert (result.code, result.query()["different"], result.query()["extra"]) == (1, 1, 1)
    assert native.run(capsys, "verify", "--sealed").code == 1


def test_histograms_of_an_expression_are_compared(native: World, capsys: Capture) -> None:
    expr = 'sum by (job, zone) ({__name__=~"grows|wide"})'
    query = {"name": "all", "expr": expr, "step": "15s", "native_histograms": "classic"}
    native.queries = [query]
    (digest,) = loaded(native, load_settings(native.config())).values()
    result = native.verify(capsys, "--json")
    assert result.code == 0, result.out + result.err
    found = result.query("all")
    assert found["equal"] == found["expected"] == found["found"] == digest.points > SAMPLES * 10
    assert found["dropped"] == {}

    native.write_raw(
        f"etl_seal,pipeline={native.namespace},query=all,tier=hot"
        f' start_ms={native.start_ms}i,points={digest.points}i,digest="{digest.text}",'
        f"sealed_ms={native.end_ms}i {native.end_ms}"
    )
    assert native.run(capsys, "verify", "--sealed").code == 0

    at_ms = native.start_ms + 3_000_000
    native.write_raw(f"all_bucket,job=app,le=4,zone=a\\ b value=1 {at_ms}")
    native.write_raw(f"all_sum,job=other value=1 {at_ms}")
    result = native.verify(capsys, "--json")
    found = result.query("all")
    assert (result.code, found["different"], found["extra"]) == (1, 1, 1)
