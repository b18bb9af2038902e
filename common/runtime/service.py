"""A process of the pipeline: settings, log, metrics, HTTP, signals, exit code.

A service's ``__main__`` is ``run("loader", main)``, where ``main`` gets a :class:`Service` and
works until ``service.stop`` is set.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from prometheus_client import ProcessCollector
from pydantic import BaseModel, SecretStr

from common.config import Settings, advice, load_settings
from common.errors import ConfigError
from common.exit_codes import ExitCode
from common.runtime.allocator import keep_freed_memory
from common.runtime.basic_auth import METRICS_USER, BasicAuth
from common.runtime.health import Health
from common.runtime.http_server import HttpServer, Pages
from common.runtime.logs import configure_logging, rotating_file
from common.runtime.signals import Shutdown
from common.runtime.telemetry import Telemetry
from common.version import project_version

__all__ = ["ExitCode", "Service", "run"]

# The sections whose secrets a service reads; one that is not listed reads all of them.
SECRETS_OF: Mapping[str, tuple[str, ...]] = {
    "extractor": ("extract", "pipeline"),
    "transformer": ("pipeline",),
    "loader": ("load", "pipeline"),
}


class Service:
    """What every process of the pipeline has.

    ``stop`` is set when the process is asked to end; ``main`` returns soon after, or is ended by
    the drain deadline. Raises :class:`ConfigError` when log file or port cannot be used.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        *,
        telemetry: Telemetry | None = None,
        health: Health | None = None,
    ) -> None:
        pipeline = settings.pipeline
        self.name = name
        self.settings = settings
        self.stop = threading.Event()
        file = None
        if pipeline.log_file is not None:
            file = rotating_file(
                name, pipeline.log_file, pipeline.log_file_max_bytes, pipeline.log_file_backups
            )
        configure_logging(name, pipeline.log_level, tuple(_secrets(settings)), file=file)
        self.telemetry = telemetry or Telemetry(name)
        self.health = health or Health(pipeline.live_seconds)
        self._at_deadline: list[Callable[[], None]] = []
        self._http: HttpServer | None = None
        self._shutdown = Shutdown(
            self.stop, pipeline.drain_seconds, self._on_stop, self._on_forced_exit
        )

    @property
    def http_port(self) -> int:
        """The port that /metrics, /livez, /readyz and /health listen on, once started."""
        return self._http.port if self._http else 0

    def start(self) -> None:
        """Listen, take the signals, say so."""
        pipeline, telemetry = self.settings.pipeline, self.telemetry
        ProcessCollector(registry=telemetry.registry)
        telemetry.watch_health(self.health.healthy)
        password = pipeline.metrics_password.get_secret_value()
        auth = BasicAuth(METRICS_USER, password) if password else None
        pages = Pages(telemetry.registry, self.health, self._about, auth)
        self._http = HttpServer(pipeline.http_host, pipeline.http_port, pages)
        threading.excepthook = self._thread_failed
        self._shutdown.start()
        telemetry.emit(
            "service_started",
            port=self.http_port,
            pid=os.getpid(),
            version=project_version(),
        )
        for sentence in advice(self.settings):
            telemetry.emit("config_advice", advice=sentence)

    def tick(self) -> None:
        """The loop goes round; /livez fails when it has not for ``pipeline.live_seconds``."""
        self.health.tick()

    def set_ready(self, name: str, ok: bool, detail: str = "") -> None:
        """Say whether a dependency serves us; /readyz fails unless all that were named do."""
        if self.health.set_ready(name, ok, detail):
            self.telemetry.emit("readiness_changed", check=name, ok=ok, detail=detail)

    def on_deadline(self, action: Callable[[], None]) -> None:
        """Have ``action`` done (in seconds) when the drain deadline ends the process."""
        self._at_deadline.append(action)

    def finish(self, code: ExitCode) -> None:
        """Say goodbye and stop listening; from here on only stuck threads can hold the process."""
        self._shutdown.finished()
        self.telemetry.emit("service_stopped", exit_code=int(code), exit_name=code.name)
        if self._http is not None:
            self._http.close()
            self._http = None

    def _about(self) -> dict[str, Any]:
        return {
            "service": self.name,
            "version": project_version(),
            "uptime_seconds": round(self.telemetry.uptime_seconds(), 3),
        }

    def _on_stop(self, reason: str) -> None:
        self.health.stopping()
        self.telemetry.emit(
            "service_stopping", reason=reason, drain_seconds=self.settings.pipeline.drain_seconds
        )

    def _on_forced_exit(self, code: ExitCode) -> None:
        if code is ExitCode.FORCED:
            self.telemetry.emit("service_forced", exit_code=int(code))
            return
        self.telemetry.emit("drain_deadline_passed", exit_code=int(code))
        for action in self._at_deadline:
            try:
                action()
            except Exception as error:
                self.telemetry.emit(
                    "exit_action_failed", error_type=type(error).__name__, error=str(error)
                )

    def _thread_failed(self, failed: threading.ExceptHookArgs) -> None:
        name = failed.thread.name if failed.thread else "?"
        self.telemetry.emit("thread_failed", thread=name, exc_info=failed.exc_value)


Main = Callable[[Service], ExitCode]


def run(
    name: str,
    main: Main,
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> NoReturn:
    """Run ``main`` as the service ``name`` and exit with its code.

    A configuration that cannot be used is one line for each problem on stderr and exit code 2; an
    error that nothing handled is one log line and exit code 1. Neither shows a traceback.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{name}", description=f"The pipeline's {name}."
    )
    parser.add_argument(
        "--config", type=Path, metavar="PATH", help="etl.yaml (ETL_CONFIG, config/etl.yaml)"
    )
    parser.add_argument("--version", action="version", version=project_version())
    options = parser.parse_args(argv)
    keep_freed_memory()
    try:
        settings = load_settings(options.config, environ, SECRETS_OF.get(name))
        service = Service(name, settings)
        service.start()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(ExitCode.CONFIG)
    code = _guarded(main, service)
    service.finish(code)
    sys.exit(code)


def _guarded(main: Main, service: Service) -> ExitCode:
    try:
        return main(service)
    except ConfigError as error:
        service.telemetry.emit("service_failed", exc_info=error)
        sys.stderr.write(f"{error}\n")
        return ExitCode.CONFIG
    except Exception as error:
        service.telemetry.emit("service_failed", exc_info=error)
        return ExitCode.ERROR


def _secrets(value: Any) -> Iterator[str]:
    """The texts that must never be logged."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
