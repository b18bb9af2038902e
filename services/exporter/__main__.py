"""Starts etl-metrics: ``python -m services.exporter``; ``--help`` tells the settings."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics

from common.errors import ConfigError
from common.exit_codes import ExitCode
from common.runtime.basic_auth import BasicAuth
from common.runtime.health import Health
from common.runtime.http_server import HttpServer, Pages
from common.runtime.metrics_table import ETL_METRICS
from common.runtime.signals import Shutdown
from common.version import project_version
from services.exporter.log import EventLog
from services.exporter.log_source import LogSource
from services.exporter.poller import KeepOn, Poller
from services.exporter.series import PageCollector, PublishedPage
from services.exporter.settings import ExporterSettings, load_settings

LIVE_SECONDS = 30.0
DRAIN_SECONDS = 10.0  # as long as Redis may take to answer what was asked, and a little
_TICK_SECONDS = 1.0


class Source(Protocol):
    """Something that is read on a timer."""

    page: PublishedPage

    def step(self, keep_on: KeepOn) -> float:
        """Read and publish; in how many seconds to do it again."""
        ...

    def close(self) -> None:
        """Let go of what is read."""
        ...


class Exporter:
    """The process: its sources, each with a thread, and the HTTP in front of them."""

    def __init__(self, settings: ExporterSettings) -> None:
        self.settings = settings
        self.stop = threading.Event()
        secrets = [text for text in (settings.password, settings.redis_password) if text]
        self.telemetry = EventLog(settings.log_level, secrets)
        self.health = Health(LIVE_SECONDS)
        self._started = time.monotonic()
        # Sources that have told how they are: that one is away from the start is news too.
        self._heard_of: set[str] = set()
        self._version = project_version()
        self._sources = self._make_sources()
        self._shutdown = Shutdown(self.stop, DRAIN_SECONDS, self._on_stop, self._on_forced_exit)

    def run(self) -> ExitCode:
        """Export until asked to stop. Raises :class:`ConfigError` when the port is taken."""
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(PageCollector(source.page for source in self._sources.values()))
        settings, telemetry = self.settings, self.telemetry
        auth = (
            None if settings.password is None else BasicAuth(settings.username, settings.password)
        )
        http = HttpServer(
            settings.http_host,
            settings.http_port,
            Pages(registry, self.health, self._about, auth),
            settings_names="etl-metrics: http_host and http_port",
        )
        threading.excepthook = self._thread_failed
        self._shutdown.start()
        telemetry.emit("service_started", port=http.port, pid=os.getpid(), version=self._version)
        pollers = [Poller(name, source.step, self.stop) for name, source in self._sources.items()]
        for poller in pollers:
            poller.start()
        while not self.stop.wait(_TICK_SECONDS):
            if not any(poller.stuck() for poller in pollers):
                self.health.tick()
        for poller in pollers:
            poller.join()
        for source in self._sources.values():
            source.close()
        self._shutdown.finished()
        telemetry.emit("service_stopped", exit_code=int(ExitCode.OK), exit_name=ExitCode.OK.name)
        http.close()
        return ExitCode.OK

    def set_ready(self, name: str, ok: bool, detail: str = "") -> None:
        """Say whether a source can be read."""
        changed = self.health.set_ready(name, ok, detail)
        if changed or name not in self._heard_of:
            self._heard_of.add(name)
            self.telemetry.emit("readiness_changed", check=name, ok=ok, detail=detail)

    def _make_sources(self) -> dict[str, Source]:
        settings = self.settings
        sources: dict[str, Source] = {}
        if settings.log_path is not None:
            self.health.set_ready("log", False, "not read yet")
            sources["log"] = LogSource(
                settings.log_path,
                self.telemetry,
                self.set_ready,
                poll_seconds=settings.log_poll_seconds,
                silent_seconds=settings.silent_seconds,
            )
        if settings.redis_url is not None:
            self.health.set_ready("redis", False, "not asked yet")
            sources["redis"] = _redis_source(settings, self)
        return sources

    def _about(self) -> dict[str, Any]:
        uptime_seconds = round(time.monotonic() - self._started, 3)
        return {"service": ETL_METRICS, "version": self._version, "uptime_seconds": uptime_seconds}

    def _on_stop(self, reason: str) -> None:
        self.health.stopping()
        self.telemetry.emit("service_stopping", reason=reason, drain_seconds=DRAIN_SECONDS)

    def _on_forced_exit(self, code: ExitCode) -> None:
        self.telemetry.emit(
            "service_forced" if code is ExitCode.FORCED else "drain_deadline_passed",
            exit_code=int(code),
        )

    def _thread_failed(self, failed: threading.ExceptHookArgs) -> None:
        thread = failed.thread.name if failed.thread else "?"
        error_type = failed.exc_type.__name__
        self.telemetry.emit(
            "thread_failed", thread=thread, error_type=error_type, error=str(failed.exc_value)
        )


def _redis_source(settings: ExporterSettings, exporter: Exporter) -> Source:
    """Imported only where there is a Redis to read: its client takes a third of the memory."""
    from common.state.keys import Keys
    from common.state.redis_client import connect
    from services.exporter.redis_source import RedisSource

    try:
        redis = connect(
            settings.redis_url or "", settings.redis_password, ca_file=settings.redis_ca_file
        )
    except ValueError as error:
        raise ConfigError(f"etl-metrics: redis_url: {error}") from None
    return RedisSource(
        redis,
        Keys(settings.redis_namespace),
        exporter.telemetry,
        exporter.set_ready,
        poll_seconds=settings.redis_poll_seconds,
        worker_silent_seconds=settings.worker_silent_seconds,
    )


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs until SIGTERM or SIGINT; the exit code."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    exporter: Exporter | None = None
    try:
        exporter = Exporter(load_settings(arguments, environ))
        return exporter.run()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.CONFIG
    except Exception as error:
        if exporter is None:
            raise
        exporter.telemetry.emit("service_failed", error_type=type(error).__name__, error=str(error))
        return ExitCode.ERROR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
