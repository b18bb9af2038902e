"""Remote read against JSON on a real Prometheus: the same samples, bit for bit."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis

from common.config import ExtractSettings, Query
from common.samples.columns import Samples
from common.source.http_session import source_session
from common.source.remote_read import choice
from common.source.remote_read.doubt import Doubt
from devtools.servers.prometheus_server import PrometheusServer
from services.extractor.extract import Outcome
from services.extractor.prometheus import PrometheusClient
from services.extractor.remote_read.read import RemoteReader
from services.verifier.source import ChunkReading
from services.verifier.source import Source as VerifierSource
from tests.integration.extractor.extraction_world import STEP_MS, Rig, Source
from tests.integration.extractor.test_prometheus import NASTY_LABELS, VALUES, quoted, written
from tests.support.remote_write import histogram, push, sample, series

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


def overlapping(offset_ms: int, value: int) -> str:
    """A block's OpenMetrics: one series that others complete, one that they contradict."""
    times = range(START_MS, START_MS + HOUR_MS, 15_000)
    completed = [(ms + offset_ms, str(value)) for ms in times]
    contradicted = [(ms, str(value)) for ms in times]
    series = written('v{n="1"}', completed) + written('v{n="2"}', contradicted)
    return f"# TYPE v gauge\n{series}# EOF\n"


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
    for text in (held(), overlapping(0, 1), overlapping(7_500, 2)):
        server.backfill(text)
    with server:
        yield server


class BothWays:
    """Reads what is asked for by JSON and by remote read."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(choice, "LEAST_SAMPLES", 0)
        monkeypatch.setattr(choice, "LEAST_SAMPLES_A_SERIES", 0)
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
        # The verifier decodes by itself.
        self.verifier_doubts: list[Doubt] = []
        self.verifier = VerifierSource(
            url,
            source_session(settings),
            chunks=ChunkReading(lambda _, doubt: self.verifier_doubts.append(doubt)),
        )

    def close(self) -> None:
        for one in (self.json, self.chunks, self.verifier):
            one.close()

    def verified(self, text: str, start_ms: int, end_ms: int) -> Found:
        """What the verifier reads, by remote read if it may."""
        self.verifier.read_select(text, start_ms, end_ms)  # so that it knows what is in there
        return {
            frozenset(one.labels.items()): list(
                zip(one.timestamps_ms.tolist(), one.values.view(np.uint64).tolist(), strict=True)
            )
            for one in self.verifier.read_select(text, start_ms, end_ms)
        }

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


def with_one_nan(found: Found) -> Found:
    """JSON has one NaN, chunks have every one that was written; the transform drops them all."""
    nan = int(np.array([np.nan]).view(np.uint64)[0])
    return {
        labels: [
            (ms, nan if np.isnan(np.uint64(bits).view(np.float64)) else bits) for ms, bits in rows
        ]
        for labels, rows in found.items()
    }


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
    window_ms = START_MS - HOUR_MS, START_MS + 2 * HOUR_MS
    expected, found = both.read(text, *window_ms)
    assert expected
    assert found == expected
    assert (both.remote_reads, both.doubts) == (1, [])
    assert with_one_nan(both.verified(text, *window_ms)) == expected
    assert both.verifier_doubts == []


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
    window_ms = START_MS + from_ms, START_MS + until_ms
    expected = columns(both.json, query, *window_ms)
    assert columns(both.chunks, query, *window_ms) == expected
    assert (both.remote_reads, both.doubts) == (1, [])
    assert with_one_nan(both.verified("x", *window_ms)) == expected
    assert both.verifier_doubts == []


def test_overlapping_blocks(both: BothWays) -> None:
    window_ms = START_MS, START_MS + HOUR_MS
    expected, found = both.read("v", *window_ms)
    verified = both.verified("v", *window_ms)
    assert (both.doubts, both.verifier_doubts) == ([], [])
    completed, contradicted = (
        frozenset({"__name__": "v", "n": number}.items()) for number in ("1", "2")
    )
    assert len(expected[completed]) == 2 * HOUR_MS // 15_000 - 1
    for read in (found, verified):
        assert read[completed] == expected[completed]
        # Which of two values there is, 2.42 decides anew for each range, by JSON alone, too.
        assert [ms for ms, _ in read[contradicted]] == [ms for ms, _ in expected[contradicted]]


@pytest.fixture
def pushed(
    make_prometheus: MakePrometheus, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[PrometheusServer, BothWays, int]]:
    """A server that takes what is pushed, both ways to read it, and its time in whole seconds."""
    settings = {"storage": {"tsdb": {"out_of_order_time_window": "2h"}}}
    server = make_prometheus(flags=PUSHED_FLAGS, settings=settings)
    both = BothWays(server.url, monkeypatch)
    yield server, both, both.json.now_ms() // 1000 * 1000
    both.close()


def test_stale_markers_late_and_conflicting_samples(
    pushed: tuple[PrometheusServer, BothWays, int],
) -> None:
    server, both, now_ms = pushed
    first_ms = now_ms - 3_000_000
    name = {"__name__": "z"}

    def times(begin: int, end: int) -> range:
        return range(first_ms + begin * 5_000, first_ms + end * 5_000, 5_000)

    push(
        server,
        series({**name, "n": "1"}, [sample(ms, ms % 7) for ms in times(0, 400)]),
        series({**name, "n": "2"}, [sample(ms, STALE) for ms in times(0, 3)]),
        series(
            {**name, "n": "3"},
            [sample(ms, STALE if ms % 3 == 0 else 1.5) for ms in times(0, 300)],
        ),
        series({**name, "n": "4"}, [sample(ms, 1) for ms in times(200, 400)]),
    )
    # Half a step beside those that are there, then at their very times with other values.
    push(server, series({**name, "n": "1"}, [sample(ms + 2_500, 3) for ms in times(100, 250)]))
    push(server, series({**name, "n": "4"}, [sample(ms, 2) for ms in times(150, 380)]))
    expected, found = both.read("z", first_ms - 1, now_ms)
    assert sum(map(len, expected.values())) > 900
    assert len(expected) == 3, "a series of stale markers alone is none"
    verified = with_one_nan(both.verified("z", first_ms - 1, now_ms))
    # Of two values at one time, 2.42 picks another for another range, by JSON alone, too.
    conflicting = frozenset({**name, "n": "4"}.items())
    times_ms = [ms for ms, _ in expected.pop(conflicting)]
    for read in (found, verified):
        assert [ms for ms, _ in read.pop(conflicting)] == times_ms
        assert read == expected
    assert (both.remote_reads, both.doubts) == (1, [])


def test_native_histograms_are_left_to_json(
    pushed: tuple[PrometheusServer, BothWays, int],
) -> None:
    server, both, now_ms = pushed
    times = range(now_ms - 600_000, now_ms, 5_000)
    push(
        server,
        series({"__name__": "z", "n": "1"}, [sample(ms, 1) for ms in times]),
        series({"__name__": "z", "n": "2"}, [histogram(ms, 7) for ms in times]),
        series({"__name__": "z", "n": "3"}, [sample(ms, 2) for ms in times[:60]]),
        series({"__name__": "z", "n": "3"}, [histogram(ms, 7) for ms in times[60:]]),
    )
    expected, found = both.read("z", times[0] - 1, now_ms)
    assert found == expected
    assert sum(map(len, expected.values())) == len(times) + 60
    verified = both.verified("z", times[0] - 1, now_ms)
    assert {labels: rows for labels, rows in verified.items() if rows} == expected
    assert [doubt.reason for doubt in both.verifier_doubts] == ["chunk_type"]
    assert both.remote_reads == 1
    assert [doubt.reason for doubt in both.doubts] == ["chunk_type"]


@pytest.mark.parametrize(
    "settings",
    [
        {"global": {"external_labels": {"replica": "a"}}},
        {
            "remote_read": [
                # It is not asked for anything else, so nothing is said to be missing.
                {"url": "http://127.0.0.1:9/read", "required_matchers": {"job": "other"}}
            ]
        },
    ],
)
def test_a_server_that_may_add_to_its_series_is_read_by_json(
    make_prometheus: MakePrometheus, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    server = make_prometheus(settings=settings)
    both = BothWays(server.url, monkeypatch)
    try:
        query = Query(name="s", select="up").bound(15, {})
        now_ms = both.json.now_ms()
        for _ in range(2):
            columns(both.chunks, query, now_ms - 60_000, now_ms)
        assert (both.remote_reads, both.doubts) == (0, [])
    finally:
        both.close()


def test_what_was_staged_before_a_doubt_is_discarded(redis_client: Redis) -> None:
    """It is read again at once, and nothing of the first read is left."""
    source = Source(series=30)
    rig = Rig(redis_client, source)
    window = rig.lease()
    blocks = itertools.count(1)

    def doubt_once() -> None:
        if next(blocks) == 25:
            assert redis_client.keys(), "entries are staged by now"
            raise Doubt("broken_off", "broke off")

    source.meanwhile = doubt_once
    assert rig.run(window) is Outcome.COMMITTED
    assert source.reads == [(0, 10 * STEP_MS)] * 2
    assert rig.extracted() == sum(map(len, rig.entries())) == 300
