"""The extractor as a process: on a namespace of another pipeline, and a source that drips."""

from __future__ import annotations

from pathlib import Path

import yaml
from redis import Redis

from common.state.identity import Identity, IdentityRecord
from common.state.keys import Keys
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until
from tests.support.dripping_server import serving

SINK = "http://127.0.0.1:1 org o bucket b"


def test_it_stops_in_time_while_the_head_of_a_response_drips(
    redis_server: RedisServer, redis_namespace: str, tmp_path: Path, log_dir: Path
) -> None:
    with serving(b"HTTP/1.1 200 OK\r\nX-A: ", b"b") as source:
        config = {
            # A request in hand is waited for longer than a stop may take.
            "extract": {"prometheus_url": f"http://127.0.0.1:{source.port}", "timeout": 30},
            "load": {"influxdb": {"url": "http://127.0.0.1:1", "org": "o", "bucket": "b"}},
            "pipeline": {
                "redis_url": redis_server.plain_url,
                "redis_namespace": redis_namespace,
                "interval_seconds": 1,
                "drain_seconds": 4,
            },
        }
        path = tmp_path / "etl.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        process = ServiceProcess("extractor", tmp_path / "run", config=path, log_dir=log_dir)
        try:
            process.start(wait=False)
            # Beside the connection that tells whether the source is there.
            wait_until(lambda: source.connections > 1, deadline_seconds=20, what="a request")
            assert process.stop() == 0
            log = process.log_path.read_text(encoding="utf-8")
        finally:
            process.close()
    assert "as this process stops" in log
    assert "drain_deadline_passed" not in log


def test_it_plans_nothing_for_a_pipeline_with_another_source(
    redis_client: Redis,
    redis_server: RedisServer,
    redis_namespace: str,
    prometheus_server: PrometheusServer,
    tmp_path: Path,
    log_dir: Path,
) -> None:
    record, keys = IdentityRecord(redis_client, Keys(redis_namespace)), Keys(redis_namespace)
    record.accept(Identity("http://elsewhere:9090", SINK))
    config = {
        "extract": {"prometheus_url": prometheus_server.url, "settle_seconds": 0},
        "load": {"influxdb": {"url": "http://127.0.0.1:1", "org": "o", "bucket": "b"}},
        "pipeline": {
            "redis_url": redis_server.plain_url,
            "redis_namespace": redis_namespace,
            "interval_seconds": 1,
        },
    }
    path = tmp_path / "etl.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    process = ServiceProcess("extractor", tmp_path / "run", config=path, log_dir=log_dir)
    try:
        process.start(wait=False)
        wait_until(
            lambda: "belongs to another pipeline" in (process.probe() or ""),
            deadline_seconds=20,
            what="the reason",
        )
        assert redis_client.exists(keys.feeds) == 0
        record.accept(Identity(prometheus_server.url, SINK))
        wait_until(lambda: redis_client.exists(keys.feeds) == 1, deadline_seconds=20, what="a plan")
        assert process.stop() == 0
    finally:
        process.close()
