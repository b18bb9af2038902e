"""Starts the simulator: ``python -m services.simulator``; ``--help`` tells the settings.

It is a stranger to the pipeline: no etl.yaml, no telemetry of the pipeline's, so that its metrics
are those of an application and its image holds little. Of ``common`` it takes the signals only.
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

import structlog
from prometheus_client import CollectorRegistry, disable_created_metrics

from common.errors import ConfigError
from common.exit_codes import ExitCode
from common.signals import Shutdown
from services.simulator.app import TestApplication
from services.simulator.http_server import BasicAuth, MetricsServer
from services.simulator.settings import SimulatorSettings, load_settings
from services.simulator.traffic import Traffic

_TICK_SECONDS = 1.0
_DRAIN_SECONDS = 5.0  # there is nothing to finish but answers under way
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


def _serve(settings: SimulatorSettings, log: structlog.typing.FilteringBoundLogger) -> ExitCode:
    stop = threading.Event()
    shutdown = Shutdown(
        stop,
        _DRAIN_SECONDS,
        lambda reason: log.info("service_stopping", reason=reason),
        lambda code: log.warning("service_forced", exit_code=int(code)),
    )
    shutdown.start()
    registry = CollectorRegistry()
    application = TestApplication(
        Traffic(
            seed=settings.seed,
            busiest_rate_per_second=settings.busiest_rate_per_second,
            day_seconds=settings.day_seconds,
        ),
        Random(settings.seed),
        _steady_clock(),
        registry,
    )
    auth = BasicAuth(settings.username, settings.password())
    address = (settings.http_host, settings.http_port)
    try:
        server = MetricsServer(address, auth, registry, application.advance, log)
    except OSError as error:
        where = f"{settings.http_host}:{settings.http_port}"
        raise ConfigError(f"simulator: cannot listen on {where}: {error.strerror}") from error
    thread = threading.Thread(target=server.serve_forever, name="http", daemon=True)
    thread.start()
    log.info("service_started", port=server.server_port, pid=os.getpid(), seed=settings.seed)
    # Between scrapes too, so that a long pause leaves no heap of work to the next one.
    while not stop.wait(_TICK_SECONDS):
        application.advance()
    server.shutdown()
    server.server_close()
    thread.join()
    shutdown.finished()
    log.info("service_stopped")
    return ExitCode.OK


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
