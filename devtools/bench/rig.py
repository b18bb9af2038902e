"""What is measured: Redis, Prometheus with generated blocks, a sink, the pipeline's services."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import psutil
import yaml
from redis import Redis

from common.config import Settings, load_settings
from devtools.bench.data import SELECTOR, STEP_MS, Dataset
from devtools.bench.machine import Meter
from devtools.bench.servers import NullSink, VictoriaServer
from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.lifetime import StartStop
from devtools.servers.processes import Server, stop_together
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until

SinkName = Literal["influxd", "victoria-metrics", "null"]
SINKS: tuple[SinkName, ...] = ("influxd", "victoria-metrics", "null")
STAGES = ("extractor", "transformer", "loader")
QUERY = "bench"
ORG = "bench"
# A sink works on after it has answered; the next run must not pay for that.
_IDLE_SHARE = 0.05
_IDLE_WINDOW_SECONDS = 0.5
_IDLE_DEADLINE_SECONDS = 60.0


class Rig(StartStop):
    """Context manager: the servers are up inside; each run then has a pipeline of its own.

    ``dataset`` is what Prometheus holds, and all that it holds: it scrapes nothing, so its blocks
    may reach up to now. Block compaction is off, because it would run beside whichever run is next.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        dataset: Dataset,
        *,
        sink: SinkName = "influxd",
        work_dir: Path | None = None,
    ) -> None:
        self.toolbox = toolbox
        self.dataset = dataset
        self.sink_name = sink
        self.dir = work_dir or Path(tempfile.mkdtemp(prefix="bench-"))
        self.log_dir = self.dir / "logs"
        self.redis = RedisServer(toolbox, self.dir / "redis", log_dir=self.log_dir)
        self.prometheus = PrometheusServer(
            toolbox,
            self.dir / "prometheus",
            log_dir=self.log_dir,
            retention="60d",
            flags=(
                "--storage.tsdb.min-block-duration=2h",
                "--storage.tsdb.max-block-duration=2h",
            ),
        )
        self.influx: InfluxServer | None = None
        self.sink: Server
        self.sink_url: str
        self._bucket_number = 0
        self._services: list[ServiceProcess] = []

    def start(self) -> Self:
        """See the class; ``stop()`` must follow."""
        try:
            self.dataset.write(self.toolbox, self.prometheus.data_dir, self.dir / "openmetrics")
            self.redis.start()
            self.prometheus.start()
            self._start_sink()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything and remove its data."""
        try:
            self.stop_services()
            stop_together([server for server in self._servers() if server.running])
        finally:
            for server in self._servers():
                server.kill()
            shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def sink_pids(self) -> dict[str, int]:
        """Name → process id of the sink's processes."""
        if self.influx is not None:
            return {"influxd": self.influx.influxd.pid, "influxd-front": self.influx.front.pid}
        return {self.sink.name: self.sink.pid}

    def fresh_bucket(self) -> str:
        """The name of a bucket that holds nothing; the one before is deleted."""
        if self.influx is not None:
            if self._bucket_number:
                self.influx.drop_database(f"bench{self._bucket_number}")
            self._bucket_number += 1
            self.influx.create_database(f"bench{self._bucket_number}")
        elif self.sink_name == "victoria-metrics":
            self.sink.restart(keep_data=False)
            self._bucket_number += 1
        return f"bench{self._bucket_number}"

    def extra_bucket(self, name: str) -> str:
        """One more bucket beside that of the next run, which holds nothing."""
        assert self.influx is not None
        extra = f"{name}{self._bucket_number + 1}"
        self.influx.create_database(extra)
        return extra

    def settle(self) -> dict[str, float]:
        """Wait until the servers have nothing left to do; the cores that each has at rest."""
        pids = {"redis": self.redis.pid, "prometheus": self.prometheus.pid, **self.sink_pids}
        at_rest: dict[str, float] = {}

        def idle() -> bool:
            meter = Meter(pids)
            psutil.cpu_percent(interval=_IDLE_WINDOW_SECONDS)
            at_rest.update(meter.idle_cores())
            return sum(at_rest.values()) < _IDLE_SHARE

        wait_until(
            idle, deadline_seconds=_IDLE_DEADLINE_SECONDS, what="the servers have come to rest"
        )
        return at_rest

    def config(
        self, bucket: str, window_samples: int, overrides: Mapping[str, Any] | None = None
    ) -> Path:
        """An etl.yaml that reads the whole dataset in windows of so many samples a series.

        All else is the default; ``overrides`` are sections laid over it.
        """
        config: dict[str, Any] = {
            "extract": {
                "prometheus_url": self.prometheus.url,
                "settle_seconds": 30,
                # The feed begins where the data does: Prometheus reports its lowest timestamp.
                "initial_lookback_seconds": 59 * 86_400,
                "catchup_window_samples": window_samples,
                "queries": [{"name": QUERY, "select": SELECTOR}],
            },
            "load": {"influxdb": {"url": self.sink_url, "org": ORG, "bucket": bucket}},
            "pipeline": {
                "interval_seconds": STEP_MS / 1000,
                "redis_url": self.redis.plain_url,
            },
        }
        for section, values in (overrides or {}).items():
            config[section].update(values)
        path = self.dir / "etl.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        return path

    def settings(self, config: Path) -> Settings:
        """The configuration as the services read it."""
        return load_settings(config, environ={})

    @contextlib.contextmanager
    def client(self) -> Iterator[Redis]:
        """A client of Redis, whose data is deleted."""
        client = self.redis.client()
        try:
            client.flushall()
            yield client
        finally:
            client.close()

    def service(self, module: str, number: int, config: Path) -> ServiceProcess:
        """A service, not yet started."""
        name = f"{module}-{number}"
        service = ServiceProcess(
            module,
            self.dir / name,
            config=config,
            name=name,
            log_dir=self.log_dir,
        )
        self._services.append(service)
        return service

    def stop_services(self) -> None:
        """Stop the services, whatever they have in hand."""
        stop_together([service for service in self._services if service.running])
        for service in self._services:
            service.kill()
        self._services.clear()

    def _start_sink(self) -> None:
        folder = self.dir / "sink"
        if self.sink_name == "influxd":
            limits: dict[str, str | int | bool] = {
                "max-series-per-database": 0,
                "max-values-per-tag": 0,
            }
            self.influx = InfluxServer(
                self.toolbox, folder, log_dir=self.log_dir, settings={"data": limits}
            ).start()
            self.sink, self.sink_url = self.influx.influxd, self.influx.url
            return
        kind = VictoriaServer if self.sink_name == "victoria-metrics" else NullSink
        sink = kind(self.toolbox, folder, log_dir=self.log_dir)
        sink.start()
        self.sink, self.sink_url = sink, sink.url

    def _servers(self) -> Sequence[Server]:
        servers: list[Server] = [self.prometheus, self.redis]
        if self.influx is not None:
            servers += self.influx.servers
        elif hasattr(self, "sink"):
            servers.append(self.sink)
        return servers
