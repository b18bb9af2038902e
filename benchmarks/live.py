"""Live mode: Prometheus scrapes every 15 s; what the services cost, and how late a sample is.

How late: from the sample's own timestamp to the first query of the sink that finds it.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.machine import Meter
from benchmarks.rig import ORG, STAGES
from localstack.binaries import Toolbox
from localstack.influx_server import InfluxServer
from localstack.ports import HOST
from localstack.processes import Server, stop_together
from localstack.prometheus_server import PrometheusServer, ScrapeJob
from localstack.redis_server import RedisServer
from localstack.service_process import ServiceProcess
from localstack.waiting import wait_until

INTERVAL_SECONDS = 15.0
# The default: 1.1 intervals, a scrape time-out of 10 s, a second for rules, rounded up.
SETTLE_SECONDS = 30.0
METRIC = "bench_live"
BUCKET = "live"
# Prometheus scrapes each job at an offset of its own, so that samples spread over the interval.
JOBS = 20
SERIES_OF_A_JOB = 50
_POLL_SECONDS = 0.2


class _Exporter(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        now = time.time()
        body = "".join(
            f'{METRIC}{{number="{number}"}} {now + number}\n' for number in range(SERIES_OF_A_JOB)
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: it is asked all the time."""


@contextlib.contextmanager
def exporter() -> Iterator[str]:
    """``host:port`` of a target whose values change at every scrape."""
    server = ThreadingHTTPServer((HOST, 0), _Exporter)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def measure(toolbox: Toolbox, *, seconds: float) -> dict[str, Any]:
    """CPU of each service, as a share of one core, and latencies in seconds."""
    folder = Path(tempfile.mkdtemp(prefix="bench-live-"))
    servers: list[Server] = []
    try:
        with exporter() as target:
            return _measured(toolbox, folder, target, servers, seconds)
    finally:
        stop_together([server for server in reversed(servers) if server.running])
        for server in servers:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _measured(
    toolbox: Toolbox, folder: Path, target: str, servers: list[Server], seconds: float
) -> dict[str, Any]:
    logs = folder / "logs"
    redis = RedisServer(toolbox, folder / "redis", log_dir=logs)
    influx = InfluxServer(toolbox, folder / "influxdb", log_dir=logs, databases=(BUCKET,))
    prometheus = PrometheusServer(
        toolbox,
        folder / "prometheus",
        log_dir=logs,
        jobs=[ScrapeJob(f"live-{number}", (target,)) for number in range(JOBS)],
        scrape_interval_seconds=INTERVAL_SECONDS,
        scrape_timeout_seconds=10.0,
    )
    servers += [redis, influx.influxd, influx.front, prometheus]
    redis.start()
    influx.start()
    prometheus.start()
    config = folder / "etl.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "extract": {
                    "prometheus_url": prometheus.url,
                    "settle_seconds": SETTLE_SECONDS,
                    "queries": [{"name": "live", "select": METRIC}],
                },
                "load": {"influxdb": {"url": influx.url, "org": ORG, "bucket": BUCKET}},
                "pipeline": {"interval_seconds": INTERVAL_SECONDS, "redis_url": redis.plain_url},
            }
        ),
        encoding="utf-8",
    )
    services = [
        ServiceProcess(module, folder / module, config=config, log_dir=logs) for module in STAGES
    ]
    servers += services
    for service in services:
        service.start(wait=False)
    for service in services:
        service.wait_ready()
    seen: dict[tuple[str, int], float] = {}

    def look() -> None:
        statement = f'SELECT "value" FROM "{METRIC}" WHERE "number" = \'0\''
        statement += f" AND time > now() - {round(6 * INTERVAL_SECONDS)}s GROUP BY job"
        now = time.time()
        for found in influx.query(statement, database=BUCKET, epoch="ms"):
            for stamp_ms, _ in found["values"]:
                seen.setdefault((found["tags"]["job"], stamp_ms), now - stamp_ms / 1000)

    def any_seen() -> bool:
        look()
        return bool(seen)

    wait_until(
        any_seen,
        deadline_seconds=4 * INTERVAL_SECONDS + SETTLE_SECONDS,
        what="the first live samples",
        poll_seconds=_POLL_SECONDS,
    )
    # What was scraped before the services were up came late for that reason.
    seen_before = set(seen)
    pids = {service.module: service.pid for service in services} | {"redis": redis.pid}
    meter = Meter(pids)
    until = time.monotonic() + seconds

    def over() -> bool:
        look()
        return time.monotonic() >= until

    wait_until(over, deadline_seconds=seconds + 60, what="the end", poll_seconds=_POLL_SECONDS)
    passed, cpu = meter.taken()
    latencies = [seconds for key, seconds in seen.items() if key not in seen_before]
    p50, p99 = np.percentile(latencies, (50, 99))
    return {
        "interval_seconds": INTERVAL_SECONDS,
        "settle_seconds": SETTLE_SECONDS,
        "series": JOBS * SERIES_OF_A_JOB,
        "seconds": round(passed, 1),
        "samples_timed": len(latencies),
        "latency_p50_seconds": round(float(p50), 2),
        "latency_p99_seconds": round(float(p99), 2),
        "latency_bound_seconds": INTERVAL_SECONDS + SETTLE_SECONDS + 2,
        "core_share": {name: round(taken / passed, 5) for name, taken in cpu.items()},
        "memory_bytes": {server.name: server.rss_bytes() for server in (*services, redis)},
    }
