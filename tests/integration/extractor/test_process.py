"""The extractor as a process, on a namespace that is another pipeline's."""

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

SINK = "http://127.0.0.1:1 org o bucket b"


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
