"""Starts the simulator: ``python -m services.simulator``; ``--help`` tells the settings.

It is a stranger to the pipeline: no etl.yaml, no Redis, so that its metrics are those of an
application and its image holds little.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, MutableMapping, Sequence
from random import Random
from typing import Any
from uuid import uuid4

import structlog
from prometheus_client import CollectorRegistry, disable_created_metrics

from common.errors import ConfigError
from common.exit_codes import ExitCode
from common.runtime.basic_auth import BasicAuth
from common.runtime.health import Health
from common.runtime.signals import Shutdown
from services.simulator.app import TestApplication
from services.simulator.collector import EtlCollector
from services.simulator.http_server import Pages, SimulatorServer
from services.simulator.log_writer import LogWriter
from services.simulator.process import EtlProcess, Identity
from services.simulator.settings import SimulatorSettings, load_settings
from services.simulator.tls import server_context
from services.simulator.traffic import Traffic
from services.simulator.workload import failures, files

# How soon a scenario, or the death of the loop, is noticed at the latest.
_TICK_SECONDS = 0.25
_LIVE_SECONDS = 15.0
_FIRST = ("timestamp", "level", "service", "event")


def _in_order(_: Any, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """The fields that every line has go first, as in the other services' logs."""
    return {key: event[key] for key in _FIRST if key in event} | dict(event)


def _logger(level: str) -> structlog.typing.FilteringBoundLogger:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _in_order,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(service="simulator")
    return logger


def _steady_clock() -> Callable[[], float]:
    """Seconds since the epoch that never go back, whatever happens to the machine's clock."""
    offset_seconds = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset_seconds


def _test_application(settings: SimulatorSettings, registry: CollectorRegistry) -> TestApplication:
    traffic = Traffic(
        seed=settings.seed,
        busiest_rate_per_second=settings.busiest_rate_per_second,
        day_seconds=settings.day_seconds,
    )
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


def _log_writer(settings: SimulatorSettings) -> LogWriter:
    return LogWriter(
        settings.etl_log_file,
        max_bytes=settings.etl_log_max_bytes,
        backups=settings.etl_log_backups,
        stdout=sys.stdout,
        stdout_level=logging.getLevelName(settings.log_level),
    )


def _server(
    settings: SimulatorSettings, pages: Pages, log: structlog.typing.FilteringBoundLogger
) -> SimulatorServer:
    auth = BasicAuth(settings.username, settings.password())
    tls = None
    if settings.tls_cert_file is not None and settings.tls_key_file is not None:
        tls = server_context(settings.tls_cert_file, settings.tls_key_file)
    address = (settings.http_host, settings.http_port)
    try:
        return SimulatorServer(address, auth, pages, log, tls)
    except OSError as error:
        where = f"{settings.http_host}:{settings.http_port}"
        raise ConfigError(f"simulator: cannot listen on {where}: {error.strerror}") from error


def _serve(settings: SimulatorSettings, log: structlog.typing.FilteringBoundLogger) -> ExitCode:
    stop = threading.Event()
    shutdown = Shutdown(
        stop,
        settings.drain_seconds,
        lambda reason: log.info("service_stopping", reason=reason),
        lambda code: log.warning("service_forced", exit_code=int(code)),
    )
    shutdown.start()
    health = Health(_LIVE_SECONDS)
    registry = CollectorRegistry()
    application = _test_application(settings, registry)
    process = _etl_process(settings)
    writer = _log_writer(settings)

    def ill() -> str | None:
        if not health.live():
            return "the process stands still"
        if not process.healthy:
            return "the simulated outage is on"
        return None if writer.problem is None else "the log cannot be written"

    registry.register(EtlCollector(process.figures, lambda: ill() is None))
    pages = Pages(
        registry,
        application.advance,
        ill,
        process.in_force,
        lambda request: process.switch(request.scenario, request.for_seconds),
    )
    server = _server(settings, pages, log)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="http", daemon=True
    )
    thread.start()
    log.info("service_started", port=server.server_port, pid=os.getpid(), seed=settings.seed)
    _work_until(stop, application, process, writer, health, log)
    server.shutdown()
    server.server_close()
    thread.join()
    writer.close()
    shutdown.finished()
    log.info("service_stopped")
    return ExitCode.OK


def _work_until(
    stop: threading.Event,
    application: TestApplication,
    process: EtlProcess,
    writer: LogWriter,
    health: Health,
    log: structlog.typing.FilteringBoundLogger,
) -> None:
    """All that is done between scrapes, and the only place that writes the process' lines."""
    problem: str | None = None
    wait_seconds = 0.0
    while not stop.wait(min(wait_seconds, _TICK_SECONDS)):
        # Between scrapes too, so that a long pause leaves no heap of work to the next one.
        application.advance()
        wait_seconds = process.advance()
        _write(process, writer)
        if writer.problem != problem:
            problem = writer.problem
            if problem is not None:
                log.error("etl_log_failed", error=problem)
            else:
                log.info("etl_log_works_again")
        health.tick()
    process.stop()
    _write(process, writer)


def _write(process: EtlProcess, writer: LogWriter) -> None:
    for line in process.take_lines():
        writer.write(line)


def main(arguments: Sequence[str]) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code."""
    # A creation time beside every counter would double the series and tell nothing.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        settings = load_settings(arguments)
        return _serve(settings, _logger(settings.log_level))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.CONFIG


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
