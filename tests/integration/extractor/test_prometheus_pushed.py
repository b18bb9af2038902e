"""Samples that no text can express, pushed into a real Prometheus: stale markers, histograms."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable

import pytest
import requests

from common.config import ExtractSettings, Query
from devtools.servers.prometheus_server import PrometheusServer
from services.extractor.prometheus import PrometheusClient

# What Prometheus stores when a series ends (model/value/value.go).
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
# A NaN that is one.
NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]


# The little of Protocol Buffers that remote write needs
# (https://prometheus.io/docs/specs/prw/remote_write_spec/, prompb/types.proto).
def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def zigzag(number: int) -> bytes:
    return varint(number << 1 ^ number >> 63)


def of_bytes(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def of_int(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def of_double(field: int, number: float) -> bytes:
    return varint(field << 3 | 1) + struct.pack("<d", number)


def sample(ms: int, value: float) -> bytes:
    return of_bytes(2, of_double(1, value) + of_int(2, ms))


def histogram(ms: int, count: int) -> bytes:
    """Native, with two buckets."""
    spans = of_bytes(11, varint(1 << 3) + zigzag(0) + of_int(2, 2))
    deltas = of_bytes(12, zigzag(count - 1) + zigzag(2 - count))
    content = of_int(1, count) + of_double(3, 1.5) + spans + deltas + of_int(15, ms)
    return of_bytes(4, content)


def series(labels: dict[str, str], samples: Iterable[bytes]) -> bytes:
    pairs = sorted(labels.items())
    named = [
        of_bytes(1, of_bytes(1, name.encode()) + of_bytes(2, value.encode()))
        for name, value in pairs
    ]
    return of_bytes(1, b"".join([*named, *samples]))


def push(server: PrometheusServer, *all_series: bytes) -> None:
    body = b"".join(all_series)
    # Snappy may also be literal: the length, then runs of up to 60 bytes as they are.
    runs = [body[begin : begin + 60] for begin in range(0, len(body), 60)]
    packed = varint(len(body)) + b"".join(bytes([len(run) - 1 << 2]) + run for run in runs)
    answer = requests.post(
        f"{server.url}/api/v1/write",
        data=packed,
        headers={"Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"},
        timeout=10,
    )
    assert answer.status_code == 204, answer.text


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
