"""Starts the simulator: ``python -m services.simulator``; ``--help`` lists the settings.

It is a stranger to the pipeline: no etl.yaml, no Redis, so that its metrics are those of an
application and its image holds little.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from common import lean_imports
    from common.runtime.early_signals import end_at_once

    end_at_once()
    lean_imports.begin()

import logging
import os
import ssl
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from uuid import uuid4

from prometheus_client import CollectorRegistry, disable_created_metrics

from common import lean_imports
from common.errors import ConfigError
from common.exit_codes import ExitCode
from common.runtime.basic_auth import BasicAuth
from common.runtime.http_server import tls_context
from common.runtime.logs import EventLog, configure_logging
from common.runtime.process import Process
from services.simulator.app import TestApplication
from services.simulator.collector import EtlCollector
from services.simulator.log_writer import LogWriter
from services.simulator.pages import Pages
from services.simulator.process import EtlProcess, Identity
from services.simulator.settings import SimulatorSettings, load_settings
from services.simulator.traffic import Traffic
from services.simulator.workload import failures, files

# How soon a scenario, or the death of the loop, is noticed at the latest.
_TICK_SECONDS = 0.25
_LIVE_SECONDS = 15.0


class Simulator(Process):
    """The process: the test application, the ETL process and the HTTP in front of them."""

    def __init__(self, settings: SimulatorSettings) -> None:
        """Raises :class:`ConfigError` when the log cannot be written or TLS cannot be used."""
        configure_logging("simulator", settings.log_level, [settings.password])
        super().__init__(
            "simulator",
            EventLog(),
            live_seconds=_LIVE_SECONDS,
            drain_seconds=settings.drain_seconds,
        )
        self._settings = settings
        self._registry = CollectorRegistry()
        self._application = _test_application(settings, self._registry)
        self._etl_process = _etl_process(settings)
        self._registry.register(
            EtlCollector(self._etl_process.figures, lambda: self.unhealthy() is None)
        )
        self._tls = _tls(settings)
        self._writer = LogWriter(
            settings.etl_log_file,
            max_bytes=settings.etl_log_max_bytes,
            backups=settings.etl_log_backups,
            stdout=sys.stdout,
            stdout_level=logging.getLevelName(settings.log_level),
        )

    def start(self) -> None:
        """Listen. Raises :class:`ConfigError` when the port is taken."""
        settings, process = self._settings, self._etl_process
        pages = Pages(
            self._registry,
            self._application.advance,
            self.unhealthy,
            process.in_force,
            lambda request: process.switch(request.scenario, request.for_seconds),
            self.events,
        )
        self.listen(
            settings.http_host,
            settings.http_port,
            pages.routes(BasicAuth(settings.username, settings.password)),
            tls=self._tls,
            settings_names="simulator: http_host and http_port",
        )

    def unhealthy(self) -> str | None:
        """Why the health check fails, or None."""
        if not self.health.live():
            return "the process stands still"
        if not self._etl_process.healthy:
            return "the simulated outage is on"
        return None if self._writer.problem is None else "the log cannot be written"

    def work(self) -> ExitCode:
        """All that is done between scrapes, and the only place that writes the process' lines."""
        problem: str | None = None
        wait_seconds = 0.0
        while not self.stop.wait(min(wait_seconds, _TICK_SECONDS)):
            # Between scrapes too, so that a long pause leaves no heap of work to the next one.
            self._application.advance()
            wait_seconds = self._etl_process.advance()
            self._write()
            if self._writer.problem != problem:
                problem = self._writer.problem
                if problem is not None:
                    self.events.emit("etl_log_failed", error=problem)
                else:
                    self.events.emit("etl_log_works_again")
            self.tick()
        self._etl_process.stop()
        self._write()
        self._writer.close()
        return ExitCode.OK

    def _write(self) -> None:
        for line in self._etl_process.take_lines():
            self._writer.write(line)


def _steady_clock() -> Callable[[], float]:
    """Seconds since the epoch that never go back, whatever happens to the machine's clock."""
    offset_seconds = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset_seconds


def _test_application(settings: SimulatorSettings, registry: CollectorRegistry) -> TestApplication:
    traffic = Traffic(settings.seed, settings.busiest_rate_per_second, settings.day_seconds)
    return TestApplication(traffic, Random(settings.seed), _steady_clock(), registry)


def _etl_process(settings: SimulatorSettings) -> EtlProcess:
    return EtlProcess(
        settings.pace(),
        files(settings.seed, settings.file_records_min, settings.file_records_max),
        failures(settings.seed),
        Identity(run_id=uuid4().hex[:12], pid=os.getpid(), seed=settings.seed),
        clock=time.monotonic,
        wall=time.time,
    )


def _tls(settings: SimulatorSettings) -> ssl.SSLContext | None:
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    try:
        return tls_context(settings.tls_cert_file, settings.tls_key_file)
    except ValueError as error:
        raise ConfigError(f"simulator: tls_cert_file and tls_key_file: {error}") from None


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code."""
    # A creation time beside every counter would double the series and say nothing.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        simulator = Simulator(load_settings(arguments, environ))
        simulator.start()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.CONFIG
    lean_imports.end()
    code = simulator.run(simulator.work)
    simulator.finish(code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
