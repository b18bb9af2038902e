"""The extractor as a process catches up by remote read, and every sample of it is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import requests
import yaml
from redis import Redis

from common.samples.batch import SampleBatch
from common.state.keys import RAW, Keys
from common.state.ledger import Ledger
from common.state.stream import RedisStream
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until

SERIES = 230
STEP_SECONDS = 15
SAMPLES = 1200  # five hours


def test_long_windows_are_read_by_remote_read(
    redis_client: Redis,
    redis_server: RedisServer,
    redis_namespace: str,
    make_prometheus: Callable[..., PrometheusServer],
    tmp_path: Path,
    log_dir: Path,
) -> None:
    redis_seconds, _ = redis_client.time()
    first = (redis_seconds - 9 * 3600) // STEP_SECONDS * STEP_SECONDS
    text = ["# TYPE x gauge\n"]
    for number in range(SERIES):
        text += [
            f'x{{n="{number}"}} {index * number / 7} {first + index * STEP_SECONDS}\n'
            for index in range(SAMPLES)
        ]
    server = make_prometheus(backfill="".join([*text, "# EOF\n"]))
    config = {
        "extract": {
            "prometheus_url": server.url,
            "initial_lookback_seconds": 10 * 3600,
            "catchup_window_samples": 240,
            "queries": [{"name": "x", "select": "x"}],
        },
        "load": {"influxdb": {"url": "http://127.0.0.1:1", "org": "o", "bucket": "b"}},
        "pipeline": {
            "redis_url": redis_server.plain_url,
            "redis_namespace": redis_namespace,
            "interval_seconds": STEP_SECONDS,
        },
    }
    path = tmp_path / "etl.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    process = ServiceProcess("extractor", tmp_path / "run", config=path, log_dir=log_dir)
    keys = Keys(redis_namespace)
    try:
        process.start(wait=False)
        wait_until(
            lambda: Ledger(redis_client, keys).audit().total.extracted == SERIES * SAMPLES,
            deadline_seconds=90,
            what="all samples",
        )
        assert process.stop() == 0
        log = process.log_path.read_text(encoding="utf-8")
    finally:
        process.close()
    assert "remote_read_fallback" not in log
    metrics = requests.get(f"{server.url}/metrics", timeout=10).text
    reads = 'prometheus_http_requests_total{code="200",handler="/api/v1/read"} '
    assert any(
        line.startswith(reads) and float(line.removeprefix(reads)) >= 2
        for line in metrics.splitlines()
    )

    stream = RedisStream(redis_client, keys, RAW, "reader")
    stream.ensure()
    found: dict[bytes, list[tuple[np.ndarray, np.ndarray]]] = {}
    for entry in stream.read(1000, 0.01):
        samples = SampleBatch.decode(entry.payload).samples
        for index, (labels, end) in enumerate(
            zip(samples.series, samples.ends.tolist(), strict=True)
        ):
            rows = slice(end - int(samples.counts[index]), end)
            parts = found.setdefault(labels, [])
            parts.append((samples.timestamps_ms[rows], samples.values[rows]))
    assert len(found) == SERIES
    expected_ms = (first + np.arange(SAMPLES) * STEP_SECONDS) * 1000
    for number in range(SERIES):
        parts = found[b'{"__name__":"x","n":"%d"}' % number]
        parts.sort(key=lambda part: int(part[0][0]))
        assert (np.concatenate([times for times, _ in parts]) == expected_ms).all()
        values = np.concatenate([values for _, values in parts])
        assert values.tolist() == [index * number / 7 for index in range(SAMPLES)]
