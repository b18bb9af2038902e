"""The whole local stack: Redis, Prometheus and what it scrapes, InfluxDB, our services."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import yaml

from common.errors import StackError
from devtools import PROJECT_ROOT
from devtools.servers import Progress, no_progress
from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.lifetime import StartStop
from devtools.servers.place import LOOPBACK, Place
from devtools.servers.processes import Server, stop_together
from devtools.servers.prometheus_server import PrometheusServer, ScrapeJob
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.stack_config import Endpoints, Pace, buckets_of, read_config, stack_config

# Stopped in this order, what was extracted still reaches the sink.
PIPELINE = ("extractor", "transformer", "loader")
MODULES = (*PIPELINE, "verifier")
SIMULATOR_JOB = "test-app"
ETL_METRICS_JOB = "etl-metrics"
PROMETHEUS_JOB = "prometheus"
_SIMULATOR_USER = "prometheus"


def new_run_dir(kind: str = "stack") -> Path:
    """A folder below ``build/`` that no other run has; not created yet."""
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return PROJECT_ROOT / "build" / f"{kind}-{moment}-{os.getpid()}"


class LocalStack(StartStop):
    """Context manager: servers up on entry (services when asked for), everything ended on exit.

    ``run_dir`` keeps ``logs/`` and ``etl.yaml``; ``data/`` and ``secrets/`` are removed on exit
    unless ``keep_data``. ``config_overrides`` is laid over the written etl.yaml key by key (None
    removes one). ``etl_metrics`` are settings of etl-metrics, which then runs too: it follows the
    simulator's log and Redis, and Prometheus scrapes it and itself, as in production.
    ``prometheus_settings`` are further keys of prometheus.yml. On entry missing programs are
    unpacked and all servers started side by side; ``steps`` then holds each step's seconds and
    ``setup_seconds`` their whole. Raises :class:`StackError`; what was started by then is killed.
    """

    def __init__(
        self,
        run_dir: Path | None = None,
        *,
        toolbox: Toolbox | None = None,
        progress: Progress = no_progress,
        base_config: Path = PROJECT_ROOT / "config" / "etl.yaml",
        config_overrides: Mapping[str, Any] | None = None,
        pace: Pace | None = None,
        prometheus_auth: tuple[str, str] | None = None,
        prometheus_flags: Sequence[str] = (),
        prometheus_settings: Mapping[str, Any] | None = None,
        redis_settings: Mapping[str, str] | None = None,
        influx_settings: Mapping[str, Mapping[str, str | int | bool]] | None = None,
        simulator_environ: Mapping[str, str] | None = None,
        etl_metrics: Mapping[str, str] | None = None,
        keep_data: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run_dir = (run_dir or new_run_dir()).absolute()
        self.log_dir = self.run_dir / "logs"
        self.config_path = self.run_dir / "etl.yaml"
        self.pace = pace or Pace()
        self.steps: dict[str, float] = {}
        self.setup_seconds = 0.0
        self.services: dict[str, list[ServiceProcess]] = {module: [] for module in MODULES}
        self._data_dir = self.run_dir / "data"
        self._secrets_dir = self.run_dir / "secrets"
        self._report = progress
        self._clock = clock
        self._toolbox = toolbox or Toolbox(progress=self._progress)
        self._base_config = base_config
        self._config_overrides = dict(config_overrides or {})
        self._keep_data = keep_data
        # token_urlsafe has neither quotes nor blanks: fit for every file these go into.
        self._secret = {
            name: secrets.token_urlsafe(24) for name in ("redis", "influxdb", "simulator")
        }
        if prometheus_auth is not None:
            self._secret["prometheus"] = prometheus_auth[1]
        self.redis = RedisServer(
            self._toolbox,
            self._data_dir / "redis",
            log_dir=self.log_dir,
            password=self._secret["redis"],
            settings=redis_settings,
        )
        self.influx = InfluxServer(
            self._toolbox,
            self._data_dir / "influxdb",
            log_dir=self.log_dir,
            token=self._secret["influxdb"],
            settings=influx_settings,
        )
        self.prometheus = PrometheusServer(
            self._toolbox,
            self._data_dir / "prometheus",
            log_dir=self.log_dir,
            jobs=(
                ScrapeJob(
                    SIMULATOR_JOB,
                    username=_SIMULATOR_USER,
                    password_file=self._secret_file("simulator"),
                ),
                *(ScrapeJob(module) for module in MODULES),
                *(
                    ScrapeJob(job)
                    for job in (ETL_METRICS_JOB, PROMETHEUS_JOB)
                    if etl_metrics is not None
                ),
            ),
            scrape_interval_seconds=self.pace.scrape_interval_seconds,
            basic_auth=prometheus_auth,
            flags=prometheus_flags,
            settings=prometheus_settings,
        )
        self.etl_log_path = self._data_dir / "etl-logs" / "etl.jsonl"
        self.simulator = ServiceProcess(
            "simulator",
            self._data_dir / "simulator",
            log_dir=self.log_dir,
            environ={
                "SIMULATOR_PASSWORD_FILE": str(self._secret_file("simulator")),
                **(
                    {"SIMULATOR_ETL_LOG_FILE": str(self.etl_log_path)}
                    if etl_metrics is not None
                    else {}
                ),
                **(simulator_environ or {}),
            },
            environ_prefix="SIMULATOR_",
            ready_path="/health",
        )
        self.etl_metrics: ServiceProcess | None = None
        self._etl_metrics_environ = etl_metrics

    @property
    def simulator_login(self) -> tuple[str, str]:
        """User and password of the simulator's ``/metrics`` and ``/scenario``."""
        return _SIMULATOR_USER, self._secret["simulator"]

    @property
    def urls(self) -> dict[str, str]:
        """Name → base URL of every server and service that was started; no secrets in them."""
        named = {
            "redis": self.redis.plain_url,
            "prometheus": self.prometheus.url,
            "influxdb": self.influx.url,
            "simulator": self.simulator.url,
        }
        if self.etl_metrics is not None:
            named[ETL_METRICS_JOB] = self.etl_metrics.url
        return named | {service.name: service.url for service in self.all_services()}

    @property
    def process_counts(self) -> dict[str, int]:
        """Module → how many of its processes run now, of those that were started."""
        return {
            module: sum(service.running for service in services)
            for module, services in self.services.items()
            if services
        }

    def all_services(self) -> list[ServiceProcess]:
        """Every service started so far, extractors first."""
        return [service for module in MODULES for service in self.services[module]]

    def start(self) -> Self:
        """See the class; ``stop()`` must follow."""
        began = self._clock()
        try:
            self._toolbox.prepare()
            self._write_secrets()
            self._start_side_by_side(
                {
                    "start redis": self.redis.start,
                    "start influxdb": self.influx.start,
                    "start prometheus": self.prometheus.start,
                    "start simulator": self.simulator.start,
                }
            )
            self.prometheus.set_targets(SIMULATOR_JOB, [self.simulator.address])
            if self._etl_metrics_environ is not None:
                self._start_etl_metrics(self._etl_metrics_environ)
            self._write_config()
        except BaseException:
            self.kill()
            self._clean()
            raise
        self.setup_seconds = self._clock() - began
        return self

    def start_services(self, counts: Mapping[str, int]) -> list[ServiceProcess]:
        """Starts so many more processes of each module, side by side, until all are ready."""
        fresh = [self._new_service(module) for module, n in counts.items() for _ in range(n)]
        self._start_side_by_side({f"start {service.name}": service.start for service in fresh})
        return fresh

    def start_service(
        self,
        module: str,
        *,
        environ: Mapping[str, str] | None = None,
        wait: bool = True,
        place: Place = LOOPBACK,
    ) -> ServiceProcess:
        """Starts one more process of ``module``; ``environ`` is laid over its environment."""
        service = self._new_service(module, environ, place)
        with self._step(f"start {service.name}"):
            service.start(wait=wait)
        return service

    def stop_services(self, deadline_seconds: float | None = None) -> dict[str, int | None]:
        """SIGTERM to the services, stage after stage; name → exit code (-9: had to be killed)."""
        for module in MODULES:
            stop_together(self.services[module], deadline_seconds)
        return {service.name: service.exit_code for service in self.all_services()}

    def stop(self) -> None:
        """Stops everything, services first, and removes data and secrets."""
        try:
            self.stop_services()
            stop_together(self._servers())
        finally:
            self.kill()
            self._clean()

    def kill(self) -> None:
        """Kills everything at once and for good: nothing of it can be started again."""
        for server in (*self.all_services(), *self._servers()):
            with contextlib.suppress(OSError):
                server.close()

    def _servers(self) -> list[Server]:
        watchers = [self.etl_metrics] if self.etl_metrics is not None else []
        return [*watchers, self.prometheus, self.simulator, *self.influx.servers, self.redis]

    def _progress(self, step: str, seconds: float | None) -> None:
        if seconds is not None:
            self.steps[step] = seconds
        self._report(step, seconds)

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = self._clock()
        self._progress(name, None)
        yield
        self._progress(name, self._clock() - began)

    def _start_side_by_side(self, starts: Mapping[str, Callable[[], object]]) -> None:
        """Runs the starts in threads; the first error, or Ctrl-C, kills all and is raised."""

        def start(name: str, call: Callable[[], object]) -> None:
            with self._step(name):
                call()

        with ThreadPoolExecutor(max_workers=max(1, len(starts))) as pool:
            try:
                jobs = [pool.submit(start, name, call) for name, call in starts.items()]
                done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
                for job in done:
                    job.result()
            except BaseException:
                self.kill()  # else the pool would wait for the others' deadlines
                raise

    def _new_service(
        self, module: str, environ: Mapping[str, str] | None = None, place: Place = LOOPBACK
    ) -> ServiceProcess:
        if module not in self.services:
            raise StackError(f"no service {module}: one of {', '.join(MODULES)}")
        number = len(self.services[module]) + 1
        service = ServiceProcess(
            module,
            self._data_dir / f"{module}-{number}",
            config=self.config_path,
            name=f"{module}-{number}",
            log_dir=self.log_dir,
            environ=environ,
        )
        service.place = place
        self.services[module].append(service)
        self.prometheus.set_targets(module, [running.address for running in self.services[module]])
        return service

    def _start_etl_metrics(self, environ: Mapping[str, str]) -> None:
        # The simulator's log exists by now, and Redis has its port.
        self.etl_metrics = ServiceProcess(
            "exporter",
            self._data_dir / ETL_METRICS_JOB,
            name=ETL_METRICS_JOB,
            log_dir=self.log_dir,
            environ={
                "ETL_METRICS_LOG_PATH": str(self.etl_log_path),
                "ETL_METRICS_REDIS_URL": self.redis.plain_url,
                "ETL_METRICS_REDIS_PASSWORD_FILE": str(self._secret_file("redis")),
                **environ,
            },
            environ_prefix="ETL_METRICS_",
        )
        with self._step(f"start {ETL_METRICS_JOB}"):
            self.etl_metrics.start()
        self.prometheus.set_targets(ETL_METRICS_JOB, [self.etl_metrics.address])
        own = f"{self.prometheus.place.address}:{self.prometheus.port}"
        self.prometheus.set_targets(PROMETHEUS_JOB, [own])

    def _secret_file(self, name: str) -> Path:
        return self._secrets_dir / name

    def _write_secrets(self) -> None:
        self._secrets_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, secret in self._secret.items():
            file = self._secret_file(name)
            file.touch(mode=0o600)
            file.write_text(secret + "\n", encoding="utf-8")

    def _write_config(self) -> None:
        auth = self.prometheus.basic_auth
        config = stack_config(
            read_config(self._base_config),
            Endpoints(
                prometheus_url=self.prometheus.url,
                redis_url=self.redis.plain_url,
                redis_password_file=self._secret_file("redis"),
                influxdb_url=self.influx.url,
                influxdb_token_file=self._secret_file("influxdb"),
                prometheus_username=auth[0] if auth else None,
                prometheus_password_file=self._secret_file("prometheus") if auth else None,
            ),
            self.pace,
            self._config_overrides,
        )
        self.config_path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        for bucket in buckets_of(config):
            self.influx.create_database(bucket)

    def _clean(self) -> None:
        if not self._keep_data:
            for folder in (self._data_dir, self._secrets_dir):
                shutil.rmtree(folder, ignore_errors=True)
