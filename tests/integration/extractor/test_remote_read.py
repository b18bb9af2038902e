"""Remote read against JSON on a real Prometheus: the same samples, bit for bit."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.config import ExtractSettings, Query
from common.samples.columns import Samples
from devtools.servers.prometheus_server import PrometheusServer
from services.extractor.prometheus import PrometheusClient
from services.extractor.remote_read import two_ways
from services.extractor.remote_read.doubt import Doubt
from services.extractor.remote_read.read import RemoteReader
from tests.integration.extractor.test_prometheus import NASTY_LABELS, VALUES, quoted, written

MakePrometheus = Callable[..., PrometheusServer]
# By label set: the times, and the bits of the values.
Found = dict[frozenset[tuple[str, str]], list[tuple[int, int]]]

# Whole hours, some time ago.
START_MS = 1_700_002_800_000
HOUR_MS = 3_600_000
PUSHED_FLAGS = ("--web.enable-remote-write-receiver", "--enable-feature=native-histograms")
STALE = float(np.array([0x7FF0_0000_0000_0002], np.uint64).view(np.float64)[0])


def held() -> str:
    """OpenMetrics of an hour and a half: each kind of values, odd times, odd labels."""
    rng = random.Random(1)
    text = ["# TYPE x gauge\n"]
    for number in range(12):
        times = [START_MS + number * 137 + 15_000 * index for index in range(360)]
        jitter = [ms + rng.choice((0, 0, 0, 1, -2, 900, -7000)) for ms in times]
        counter = 0
        values = []
        for index in range(360):
            counter += rng.randrange(40)
            of_kind = (str(counter), repr(rng.gauss(5, 1)), VALUES[(index + number) % len(VALUES)])
            values.append(of_kind[number % 3])
        labels = f'n="{number}",job="{"a" if number % 2 else "b"}"'
        if number % 4 == 0:
            labels += ',only="some"'
        samples = list(zip(sorted(set(jitter)), values, strict=False))
        text.append(written(f"x{{{labels}}}", samples))
    text.append("# TYPE y gauge\n")
    for name, value in NASTY_LABELS.items():
        at = [(START_MS + 15_000 * index, "1.5") for index in range(10)]
        text.append(written(f'y{{n="{name}",nasty="{quoted(value)}"}}', at))
    text.append("# EOF\n")
    return "".join(text)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, toolbox: object, log_dir: Path
) -> Iterator[PrometheusServer]:
    server = PrometheusServer(
        toolbox,  # type: ignore[arg-type]
        tmp_path_factory.mktemp("chunks") / "prometheus",
        name="prometheus-chunks",
        log_dir=log_dir,
        retention="100y",
    )
    server.backfill(held())
    with server:
        yield server


class BothWays:
    """Reads what is asked for by JSON and by remote read."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(two_ways, "LEAST_SAMPLES", 0)
        monkeypatch.setattr(two_ways, "LEAST_SAMPLES_A_SERIES", 0)
        settings = ExtractSettings.model_validate({"prometheus_url": url})
        self.remote_reads = 0
        by_chunks = RemoteReader.read

        def counted(reader: RemoteReader, *window: Any) -> Iterator[Samples]:
            self.remote_reads += 1
            return by_chunks(reader, *window)

        monkeypatch.setattr(RemoteReader, "read", counted)
        self.doubts: list[Doubt] = []
        self.json = PrometheusClient(settings)
        self.chunks = PrometheusClient(
            settings, on_doubt=lambda _, doubt: self.doubts.append(doubt)
        )

    def close(self) -> None:
        self.json.close()
        self.chunks.close()

    def read(self, text: str, start_ms: int, end_ms: int) -> tuple[Found, Found]:
        query = Query(name="s", select=text).bound(15, {})
        expected = columns(self.json, query, start_ms, end_ms)
        columns(self.chunks, query, start_ms, end_ms)  # so that it knows what a window holds
        return expected, columns(self.chunks, query, start_ms, end_ms)


def columns(client: PrometheusClient, query: Query, start_ms: int, end_ms: int) -> Found:
    found: Found = {}
    for block in client.read(query, start_ms, end_ms):
        ends = block.ends.tolist()
        for labels, count, end in zip(block.series, block.counts.tolist(), ends, strict=True):
            assert count, "a series without samples"
            rows = slice(end - count, end)
            samples = zip(
                block.timestamps_ms[rows].tolist(),
                block.values[rows].view(np.uint64).tolist(),
                strict=True,
            )
            found.setdefault(frozenset(json.loads(labels).items()), []).extend(samples)
    return found


@pytest.fixture
def both(server: PrometheusServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[BothWays]:
    both = BothWays(server.url, monkeypatch)
    yield both
    both.close()


@pytest.mark.parametrize(
    "text",
    [
        "x",
        '{__name__="x"}',
        'x{job="a"}',
        'x{job!="a"}',
        'x{only=""}',
        'x{only!="",n!=""}',
        'x{n=~"1.*|3"}',
        'x{n!~"1.*|3"}',
        '{__name__=~"x|y"}',
        "y",
        r'y{nasty="a\nb"}',
        'y{nasty=~".*🙂.*"}',
    ],
)
def test_every_selector_finds_the_same(both: BothWays, text: str) -> None:
    expected, found = both.read(text, START_MS - HOUR_MS, START_MS + 2 * HOUR_MS)
    assert expected
    assert found == expected
    assert (both.remote_reads, both.doubts) == (1, [])


@pytest.mark.parametrize(
    ("from_ms", "until_ms"),
    [
        (0, HOUR_MS),
        (1, HOUR_MS - 1),
        (14_999, 15_000),
        (15_000, 30_137),
        (3_333_333, 4_444_444),
        (-HOUR_MS, 0),
        (-HOUR_MS, -1),
        (0, 1),
    ],
)
def test_every_range_holds_the_same(both: BothWays, from_ms: int, until_ms: int) -> None:
    query = Query(name="s", select="x").bound(15, {})
    columns(both.chunks, query, START_MS, START_MS + HOUR_MS)
    expected = columns(both.json, query, START_MS + from_ms, START_MS + until_ms)
    assert columns(both.chunks, query, START_MS + from_ms, START_MS + until_ms) == expected
    assert (both.remote_reads, both.doubts) == (1, [])
