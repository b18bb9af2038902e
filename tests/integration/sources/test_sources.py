"""Extraction, verify and readiness on every server that is supported as a source.

Each time on Prometheus (``ETL_TEST_PROMETHEUS`` names the suite that it comes from), and on
VictoriaMetrics where the mark ``victoria_metrics`` is asked for: ``make test-matrix``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis

from common.config import ExtractSettings, Query
from common.errors import QueryTooLarge
from common.state.keys import Keys
from common.state.ledger import Ledger
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until
from services.extractor.prometheus import PrometheusClient
from tests.integration.etlctl.verify.world import Point, Series, World
from tests.integration.sources.conftest import HOSTS, SAMPLES, STEP_MS, AnySource

Capture = pytest.CaptureFixture[str]

SELECT = Query(name="raw", select='load{job="app"}').bound(15, {})
EXPR = Query(name="by_host", expr="sum by (host) (load)", step=30)
DOUBLED = {"name": "doubled", "expr": "sum by (host) (load) * 2", "step": "30s"}


@pytest.fixture
def client(source: AnySource) -> Iterator[PrometheusClient]:
    settings = ExtractSettings.model_validate({"prometheus_url": source.url, "timeout": 10})
    client = PrometheusClient(settings)
    yield client
    client.close()


def read(
    client: PrometheusClient, query: Query, start_ms: int, end_ms: int
) -> list[tuple[int, float]]:
    blocks = list(client.read(query, start_ms, end_ms))
    return sorted(
        (int(t), float(v))
        for block in blocks
        for t, v in zip(block.timestamps_ms, block.values, strict=True)
    )


def known(start_ms: int, first: int, last: int, every: int = 1) -> list[tuple[int, float]]:
    """Of both series, samples ``first`` to ``last``."""
    numbers = (n for n in range(first, last + 1) if n % every == 0)
    return sorted((start_ms + n * STEP_MS, float(n)) for n in numbers for _ in HOSTS)


def test_windows_share_no_sample_and_miss_none(client: PrometheusClient, start_ms: int) -> None:
    for first, last in ((0, 10), (10, 11), (11, 110), (110, 200), (230, 240), (240, 300)):
        bounds = start_ms + first * STEP_MS, start_ms + last * STEP_MS
        expected = known(start_ms, first + 1, min(last, SAMPLES))
        assert read(client, SELECT, *bounds) == expected
        assert client.count_in(SELECT, *bounds) == len(expected)
    # A millisecond beside a sample.
    assert read(client, SELECT, start_ms, start_ms + STEP_MS - 1) == []
    assert len(read(client, SELECT, start_ms + STEP_MS - 1, start_ms + STEP_MS)) == len(HOSTS)


def test_an_expr_is_evaluated_at_the_multiples_of_its_step(
    client: PrometheusClient, start_ms: int
) -> None:
    found = read(client, EXPR, start_ms, start_ms + 40 * STEP_MS)
    assert found == known(start_ms, 2, 40, every=2)


def test_what_is_too_large_is_split(client: PrometheusClient, start_ms: int) -> None:
    with pytest.raises(QueryTooLarge):
        read(client, EXPR, start_ms, start_ms + SAMPLES * STEP_MS)


def test_its_clock_is_believed(client: PrometheusClient) -> None:
    reading = client.clock_reading()
    assert reading.date_ms is not None
    assert abs(reading.now_ms - reading.date_ms) < 60_000


def points(start_ms: int) -> list[Point]:
    """What the sink must hold of the ``select``."""
    return [
        (series(host), start_ms + n * STEP_MS, float(n))
        for host in HOSTS
        for n in range(1, SAMPLES + 1)
    ]


def series(host: str, measurement: str = "load", **tags: str) -> Series:
    return measurement, tuple(sorted({"host": host, **tags}.items()))


def tagged(start_ms: int) -> list[Point]:
    return [(series(dict(s[1])["host"], job="app"), t, v) for s, t, v in points(start_ms)]


def test_verify_proves_raw_samples(world: World, capsys: Capture) -> None:
    world.write(tagged(world.start_ms))
    result = world.verify(capsys, "--json")
    query = result.query()
    assert result.code == 0, result.err
    assert (query["expected"], query["equal"]) == (2 * SAMPLES, 2 * SAMPLES)


def test_verify_finds_what_was_done_to_raw_samples(world: World, capsys: Capture) -> None:
    """Extra points are found in a measurement whose name the source knows."""
    have = tagged(world.start_ms)
    at_ms = world.start_ms + STEP_MS
    altered = (have[5][0], have[5][1], have[5][2] + 1)
    other = (series("c", job="app"), at_ms, 1.0)
    shifted = (have[7][0], have[7][1] + 1, have[7][2])
    world.write([*have[1:5], altered, *have[6:], other, shifted])
    result = world.verify(capsys, "--json")
    query = result.query()
    assert result.code == 1
    assert (query["missing"], query["different"], query["extra"]) == (1, 1, 2)
    assert query["unexplained"] == 4


def test_verify_proves_an_expr_that_has_to_be_halved(world: World, capsys: Capture) -> None:
    world.queries = [DOUBLED]
    have = [
        (series(dict(s[1])["host"], "doubled"), t, 2 * v)
        for s, t, v in points(world.start_ms)
        if t % 30_000 == 0
    ]
    # The source goes on for the look-back, or for as long as it finds a series' interval to be.
    end_ms = world.start_ms + SAMPLES * STEP_MS
    world.write(have)
    bounds = ["--from", str(world.start_ms / 1000), "--to", str(end_ms / 1000)]
    result = world.run(capsys, "verify", "--json", *bounds)
    query = result.query("doubled")
    assert result.code == 0, result.out
    assert (query["expected"], query["equal"]) == (SAMPLES, SAMPLES)


def test_the_extractor_follows_its_source(
    live_source: AnySource,
    redis_server: RedisServer,
    redis_client: Redis,
    redis_namespace: str,
    tmp_path: Path,
    log_dir: Path,
) -> None:
    """Ready and extracting, not ready while the source is away, and ready again."""
    config: dict[str, Any] = {
        "extract": {
            "prometheus_url": live_source.url,
            "settle_seconds": 0,
            "timeout": 5,
            "queries": [
                {"name": "raw", "select": '{job="app",__name__=~"up|go_goroutines"}'},
                {"name": "rule", "expr": 'sum(up{job="app"})', "step": "1s"},
            ],
        },
        "load": {"influxdb": {"url": "http://127.0.0.1:1", "org": "o", "bucket": "b"}},
        "pipeline": {
            "redis_url": redis_server.plain_url,
            "redis_namespace": redis_namespace,
            "interval_seconds": 1,
        },
    }
    path = tmp_path / "etl.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    ledger = Ledger(redis_client, Keys(redis_namespace))

    def extracted() -> set[str]:
        return {feed for feed, of_it in ledger.audit().accounts.items() if of_it.extracted}

    with ServiceProcess("extractor", tmp_path / "run", config=path, log_dir=log_dir) as process:
        wait_until(
            lambda: extracted() == {"raw@hot", "rule@hot"},
            deadline_seconds=60,
            what="samples of both queries",
        )
        live_source.kill()
        wait_until(
            lambda: "prometheus" in (process.probe() or "").lower(),
            deadline_seconds=60,
            what="it to miss its source",
        )
        live_source.start()
        wait_until(lambda: process.probe() is None, deadline_seconds=60, what="it to be ready")
    assert ledger.audit().imbalance_samples == 0
