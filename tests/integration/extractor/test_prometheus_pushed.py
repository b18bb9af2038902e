"""Samples that no text can express, pushed into a real Prometheus: stale markers, histograms."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable

import pytest

from common.config import ExtractSettings, Query
from devtools.servers.prometheus_server import PrometheusServer
from services.extractor.prometheus import PrometheusClient
from tests.support.remote_write import histogram, push, sample, series

# What Prometheus stores when a series ends (model/value/value.go).
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
# A NaN that is one.
NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]


@pytest.fixture
def server(make_prometheus: Callable[..., PrometheusServer]) -> PrometheusServer:
    return make_prometheus(
        flags=("--web.enable-remote-write-receiver", "--enable-feature=native-histograms")
    )


def read(
    client: PrometheusClient, selector: str, start_ms: int, end_ms: int
) -> tuple[dict[str, list[tuple[int, str]]], int]:
    """Samples by the label ``n``, and how many histograms were passed over."""
    query = Query(name="s", select=selector).bound(15, {})
    found: dict[str, list[tuple[int, str]]] = {}
    histograms = 0
    for block in client.read(query, start_ms, end_ms):
        histograms += len(block.histograms_ms)
        begin = 0
        for labels, count in zip(block.series, block.counts.tolist(), strict=True):
            times = block.timestamps_ms[begin : begin + count].tolist()
            values = map(str, block.values[begin : begin + count].tolist())
            found[json.loads(labels)["n"]] = list(zip(times, values, strict=True))
            begin += count
    return found, histograms


def test_stale_markers_are_no_samples_but_nan_is(server: PrometheusServer) -> None:
    client = PrometheusClient(ExtractSettings(prometheus_url=server.url))
    now_ms = client.now_ms() - 60_000
    values = [1.0, NAN, STALE, 2.0, STALE]
    push(
        server,
        series(
            {"__name__": "x", "n": "1"},
            (sample(now_ms + 1_000 * at, value) for at, value in enumerate(values)),
        ),
    )
    found, histograms = read(client, "x", now_ms - 1, now_ms + 10_000)
    assert found == {"1": [(now_ms, "1.0"), (now_ms + 1_000, "nan"), (now_ms + 3_000, "2.0")]}
    assert histograms == 0
    query = Query(name="s", select="x").bound(15, {})
    assert client.count_in(query, now_ms - 1, now_ms + 10_000) == 3


def test_native_histograms_are_counted_and_hide_nothing(server: PrometheusServer) -> None:
    client = PrometheusClient(ExtractSettings(prometheus_url=server.url))
    now_ms = client.now_ms() - 60_000
    times = [now_ms + 1_000 * at for at in range(3)]
    push(
        server,
        series({"__name__": "x", "n": "float"}, (sample(ms, 5) for ms in times)),
        series({"__name__": "x", "n": "histogram"}, (histogram(ms, 7) for ms in times)),
        series({"__name__": "x", "n": "was"}, [sample(times[0], 3), sample(times[1], 4)]),
    )
    push(server, series({"__name__": "x", "n": "was"}, [histogram(times[2], 7)]))
    found, histograms = read(client, "x", now_ms - 1, now_ms + 10_000)
    assert found == {
        "float": [(ms, "5.0") for ms in times],
        "was": [(times[0], "3.0"), (times[1], "4.0")],
    }
    assert histograms == 4
    # Counting sees both kinds.
    query = Query(name="s", select="x").bound(15, {})
    assert client.count_in(query, now_ms - 1, now_ms + 10_000) == 9
    only, histograms = read(client, 'x{n="histogram"}', now_ms - 1, now_ms + 10_000)
    assert (only, histograms) == ({}, 3)
    # A window is open on the left, whatever Prometheus' ranges are.
    histograms_before = read(client, 'x{n="histogram"}', now_ms - 1, times[1])[1]
    histograms_after = read(client, 'x{n="histogram"}', times[1], now_ms + 10_000)[1]
    assert (histograms_before, histograms_after) == (2, 1)
    expr = Query(name="q", expr='x{n="histogram"}', step=1)
    blocks = list(client.read(expr, now_ms, now_ms + 2_000))
    assert [ms for block in blocks for ms in block.histograms_ms.tolist()] == [
        now_ms // 1000 * 1000 + 1_000 * step for step in (1, 2)
    ]
    assert sum(map(len, blocks)) == 0


def test_an_empty_server_says_that_it_holds_nothing(server: PrometheusServer) -> None:
    client = PrometheusClient(ExtractSettings(prometheus_url=server.url))
    lowest_ms = client.lowest_timestamp_ms()
    assert lowest_ms is not None
    assert lowest_ms > client.now_ms()
    now_ms = client.now_ms()
    push(server, series({"__name__": "x", "n": "1"}, [sample(now_ms, 1)]))
    assert client.lowest_timestamp_ms() == now_ms // 1000 * 1000


@pytest.mark.parametrize("more", ["", ', pod!~"' + "|".join(map(str, range(900))) + '"'])
def test_metrics_of_like_labels_are_counted_each_by_itself(
    server: PrometheusServer, more: str
) -> None:
    """Counting drops their names, and Prometheus refuses what is alike then.

    A long selector does not fit into a URL, whatever is asked with it.
    """
    client = PrometheusClient(ExtractSettings(prometheus_url=server.url))
    now_ms = client.now_ms() - 60_000
    times = [now_ms + 1_000 * at for at in range(3)]
    names = [f"metric_{number}" for number in range(25)]
    push(
        server,
        *(
            series({"__name__": name, "job": 'a "b"\\', "n": "1"}, [sample(ms, 1) for ms in times])
            for name in names
        ),
        series({"__name__": "metric_1", "job": "other"}, [sample(times[0], 1)]),
    )
    select = f'{{job="a \\"b\\"\\\\", __name__=~"metric_.*"{more}}} # all'
    query = Query(name="s", select=select).bound(15, {})
    read_samples = sum(map(len, client.read(query, now_ms - 1, now_ms + 10_000)))
    assert read_samples == 75
    assert client.count_in(query, now_ms - 1, now_ms + 10_000) == 75
    assert client.count_in(query, now_ms, now_ms + 1_500) == 25
    assert client.count_in(query, now_ms + 5_000, now_ms + 10_000) == 0
