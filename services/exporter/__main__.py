"""Starts etl-metrics: ``python -m services.exporter``; ``--help`` lists the settings."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from common import lean_imports
    from common.runtime.early_signals import end_at_once

    end_at_once()
    lean_imports.begin()

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics

from common import lean_imports
from common.errors import ConfigError
from common.exit_codes import ExitCode
from common.runtime.basic_auth import BasicAuth
from common.runtime.http_server import service_routes
from common.runtime.logs import EventLog, configure_logging
from common.runtime.metrics_table import ETL_METRICS
from common.runtime.process import Process
from services.exporter.log_source import LogSource
from services.exporter.page.links import Links
from services.exporter.page.process import process_document
from services.exporter.page.routes import page_routes
from services.exporter.poller import Poller, Source
from services.exporter.series import PageCollector
from services.exporter.settings import ExporterSettings, load_settings

LIVE_SECONDS = 30.0
DRAIN_SECONDS = 10.0  # as long as Redis may take to respond, and a little
_TICK_SECONDS = 5.0


class Exporter(Process):
    """The process: its sources, each with a thread, and the HTTP in front of them."""

    def __init__(self, settings: ExporterSettings) -> None:
        secrets = [text for text in (settings.password, settings.redis_password) if text]
        configure_logging(ETL_METRICS, settings.log_level, secrets)
        super().__init__(
            ETL_METRICS, EventLog(), live_seconds=LIVE_SECONDS, drain_seconds=DRAIN_SECONDS
        )
        # Checks that were reported: that one fails from the start is news too.
        self._reported: set[str] = set()
        self._settings = settings
        # What the status page shows.
        self._documents: dict[str, Callable[[float], dict[str, Any]]] = {}
        self._sources = self._make_sources()

    def start(self) -> None:
        """Listen. Raises :class:`ConfigError` when the port is taken."""
        settings = self._settings
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(PageCollector(source.page for source in self._sources.values()))
        auth = (
            None if settings.password is None else BasicAuth(settings.username, settings.password)
        )
        self.listen(
            settings.http_host,
            settings.http_port,
            service_routes(registry, self.health, self.about, auth)
            | page_routes(self._documents, Links(settings.runbook_url, settings.grafana_url), auth),
            settings_names="etl-metrics: http_host and http_port",
        )

    def work(self) -> ExitCode:
        """Export until the stop event is set."""
        pollers = [Poller(name, source.step, self.stop) for name, source in self._sources.items()]
        for poller in pollers:
            poller.start()
        while not self.stop.wait(_TICK_SECONDS):
            if not any(poller.stuck() for poller in pollers):
                self.tick()
        for poller in pollers:
            poller.join()
        for source in self._sources.values():
            source.close()
        return ExitCode.OK

    def set_ready(self, name: str, ok: bool, detail: str = "", valid_seconds: float = inf) -> None:
        """Set whether a source can be read."""
        changed = self.health.set_ready(name, ok, detail, valid_seconds)
        if changed or name not in self._reported:
            self._reported.add(name)
            self.events.emit("readiness_changed", check=name, ok=ok, detail=detail)

    def _make_sources(self) -> dict[str, Source]:
        settings = self._settings
        sources: dict[str, Source] = {}
        if settings.log_path is not None:
            self.health.set_ready("log", False, "not read yet")
            log = sources["log"] = LogSource(
                settings.log_path,
                self.events,
                self.set_ready,
                poll_seconds=settings.log_poll_seconds,
                silent_seconds=settings.silent_seconds,
            )
            self._documents["process"] = lambda after_seconds: process_document(log.page())
        if settings.redis_url is not None:
            self.health.set_ready("redis", False, "not read yet")
            sources["redis"] = self._redis_source(settings.redis_url)
        return sources

    def _redis_source(self, url: str) -> Source:
        """Imported only where there is a Redis to read: its client takes a third of the memory."""
        from common.state.connection.redis_client import connect
        from common.state.connection.sentinels import SentinelLogin
        from common.state.keys import Keys
        from services.exporter.page.pipeline import PipelineBoard
        from services.exporter.redis_source import RedisSource

        settings, board = self._settings, PipelineBoard()
        self._documents["pipeline"] = board.document
        try:
            redis = connect(
                url,
                settings.redis_password,
                ca_file=settings.redis_ca_file,
                sentinel_login=SentinelLogin(
                    settings.redis_sentinel_username, settings.redis_sentinel_password
                ),
            )
        except ValueError as error:
            raise ConfigError(f"etl-metrics: redis_url: {error}") from None
        return RedisSource(
            redis,
            Keys(settings.redis_namespace),
            self.events,
            self.set_ready,
            poll_seconds=settings.redis_poll_seconds,
            worker_silent_seconds=settings.worker_silent_seconds,
            show=board.show,
        )


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs until SIGTERM or SIGINT; the exit code."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        exporter = Exporter(load_settings(arguments, environ))
        exporter.start()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.CONFIG
    lean_imports.end()
    code = exporter.run(exporter.work)
    exporter.finish(code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
