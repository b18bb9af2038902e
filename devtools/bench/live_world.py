"""The world of live mode: a target that is scraped every 15 s, and the pipeline behind it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from devtools.bench.rig import ORG, STAGES
from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.ports import HOST, free_port
from devtools.servers.processes import Server, stop_together
from devtools.servers.prometheus_server import PrometheusServer, ScrapeJob
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from services.extractor.source.scrape_settings import APPEND_SECONDS

INTERVAL_SECONDS = 15.0
SCRAPE_TIMEOUT_SECONDS = 10.0
# What the extractor makes of that for raw samples.
SETTLE_SECONDS = SCRAPE_TIMEOUT_SECONDS + APPEND_SECONDS
METRIC = "bench_live"
BUCKET = "live"
# Prometheus scrapes each job at an offset of its own, so that samples spread over the interval.
JOBS = 20
JOB_NAMES = tuple(f"live-{number}" for number in range(JOBS))
SERIES_OF_A_JOB = 50
SERIES = JOBS * SERIES_OF_A_JOB
_PASSWORD = "of the sender"  # noqa: S105 - of a world that is gone a moment later


@dataclass(frozen=True, slots=True)
class Scrape:
    """What the target serves to each of the jobs, and how often it is asked."""

    series_of_a_job: int = SERIES_OF_A_JOB
    interval_seconds: float = INTERVAL_SECONDS
    timeout_seconds: float = SCRAPE_TIMEOUT_SECONDS


_SCRAPE = Scrape()


@dataclass(frozen=True, slots=True)
class LiveWorld:
    """What runs: the three stages, ready, and the servers that they are asked about."""

    folder: Path
    log_dir: Path
    redis: RedisServer
    influx: InfluxServer
    stages: Sequence[ServiceProcess]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The three stages, ready, and what they read from and work with."""

    redis: RedisServer
    prometheus: PrometheusServer
    stages: Sequence[ServiceProcess]


class _Exporter(BaseHTTPRequestHandler):
    series = SERIES_OF_A_JOB

    def do_GET(self) -> None:
        now = time.time()
        body = "".join(
            f'{METRIC}{{number="{number}"}} {now + number}\n' for number in range(self.series)
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: it is asked all the time."""


@contextlib.contextmanager
def exporter(series: int = SERIES_OF_A_JOB) -> Iterator[str]:
    """``host:port`` of a target whose values change at every scrape."""
    handler = type("Exporter", (_Exporter,), {"series": series})
    server = ThreadingHTTPServer((HOST, 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def kept_servers(prefix: str) -> Iterator[tuple[Path, list[Server]]]:
    """A folder and a list of servers: what is in it is stopped, and the folder removed."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    servers: list[Server] = []
    try:
        yield folder, servers
    finally:
        stop_together([server for server in reversed(servers) if server.running])
        for server in servers:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def live_world(toolbox: Toolbox, *, pushed: bool = False) -> Iterator[LiveWorld]:
    """Everything is up inside, and removed afterwards with its data.

    ``pushed``: Prometheus also pushes what it scrapes, as docs/sources.md has it.
    """
    with kept_servers("bench-live-") as (folder, servers), exporter() as target:
        logs = folder / "logs"
        influx = InfluxServer(toolbox, folder / "influxdb", log_dir=logs, databases=(BUCKET,))
        servers += [influx.influxd, influx.front]
        influx.start()
        pipeline = start_pipeline(
            toolbox, folder, servers, target=target, sink_url=influx.url, pushed=pushed
        )
        yield LiveWorld(folder, logs, pipeline.redis, influx, pipeline.stages)


def start_pipeline(
    toolbox: Toolbox,
    folder: Path,
    servers: list[Server],
    *,
    target: str,
    sink_url: str,
    scrape: Scrape = _SCRAPE,
    pushed: bool = False,
) -> Pipeline:
    """A Prometheus that scrapes ``target``, and the stages behind it; ``servers`` gets them all."""
    logs = folder / "logs"
    push_port = free_port() if pushed else None
    # As in deployments: what it does while nothing happens.
    redis = RedisServer(toolbox, folder / "redis", log_dir=logs, settings={"hz": "2"})
    prometheus = PrometheusServer(
        toolbox,
        folder / "prometheus",
        log_dir=logs,
        jobs=[ScrapeJob(name, (target,)) for name in JOB_NAMES],
        scrape_interval_seconds=scrape.interval_seconds,
        scrape_timeout_seconds=scrape.timeout_seconds,
        settings={} if push_port is None else {"remote_write": [_remote_write(push_port)]},
    )
    servers += [redis, prometheus]
    redis.start()
    prometheus.start()
    config = folder / "etl.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "extract": {
                    "prometheus_url": prometheus.url,
                    "queries": [{"name": "live", "select": METRIC}],
                    "push": {"host": HOST, "port": push_port, "password": _PASSWORD},
                },
                "load": {"influxdb": {"url": sink_url, "org": ORG, "bucket": BUCKET}},
                "pipeline": {"interval_seconds": INTERVAL_SECONDS, "redis_url": redis.plain_url},
            }
        ),
        encoding="utf-8",
    )
    stages = [
        ServiceProcess(module, folder / module, config=config, log_dir=logs) for module in STAGES
    ]
    servers += stages
    for service in stages:
        service.start(wait=False)
    for service in stages:
        service.wait_ready()
    return Pipeline(redis, prometheus, stages)


def _remote_write(port: int) -> dict[str, object]:
    return {
        "url": f"http://{HOST}:{port}/api/v1/write",
        "basic_auth": {"username": "prometheus", "password": _PASSWORD},
        "queue_config": {
            "batch_send_deadline": "1s",
            "max_samples_per_send": 10000,
            "capacity": 50000,
        },
    }
