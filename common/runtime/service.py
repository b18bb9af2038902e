"""A service of the pipeline: a process with the settings of etl.yaml and its telemetry.

A service's ``__main__`` is ``run("loader", main)``, where ``main`` gets a :class:`Service` and
works until ``service.stop`` is set.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from prometheus_client import ProcessCollector
from pydantic import BaseModel, SecretStr

from common import lean_imports
from common.config import advice, config_path, load_settings
from common.errors import ConfigError
from common.exit_codes import ExitCode
from common.runtime.allocator import keep_freed_memory
from common.runtime.basic_auth import METRICS_USER, BasicAuth
from common.runtime.http_server import service_routes
from common.runtime.logs import configure_logging, rotating_file
from common.runtime.process import Process
from common.runtime.reload.config_watch import ConfigFile, ConfigWatch
from common.runtime.telemetry import Telemetry
from common.version import project_version

__all__ = ["ExitCode", "Service", "run", "secrets_in"]

# The sections whose secrets a service reads; one that is not listed reads all of them.
SECRETS_OF: Mapping[str, tuple[str, ...]] = {
    "extractor": ("extract", "pipeline"),
    "transformer": ("pipeline",),
    "loader": ("load", "pipeline"),
}


class Service(Process):
    """What every service of the pipeline has.

    ``stop`` is set when the process is to end; ``main`` returns soon after, or is ended by
    the drain deadline. Raises :class:`ConfigError` when log file or port cannot be used. ``config``
    knows which configuration is in force, and begins again with another.
    """

    def __init__(self, name: str, file: ConfigFile) -> None:
        self.settings = settings = file.settings
        pipeline = settings.pipeline
        log_file = None
        if pipeline.log_file is not None:
            log_file = rotating_file(
                name, pipeline.log_file, pipeline.log_file_max_bytes, pipeline.log_file_backups
            )
        configure_logging(name, pipeline.log_level, tuple(secrets_in(settings)), file=log_file)
        self.telemetry = Telemetry(name)
        self.telemetry.expect_feeds(
            (query.name, tier)
            for tier in settings.load.tiers
            for query in settings.extract.queries
            if query.is_in(tier)
        )
        self.config = ConfigWatch(file, self.telemetry, lambda: self.begin_again("reload"))
        super().__init__(
            name,
            self.telemetry,
            live_seconds=pipeline.live_seconds,
            drain_seconds=pipeline.drain_seconds,
            on_hang_up=self.config.ask,
        )

    def start(self) -> None:
        """Listen, take the signals over, report the start."""
        pipeline, telemetry = self.settings.pipeline, self.telemetry
        ProcessCollector(registry=telemetry.registry)
        telemetry.watch_health(self.health.healthy)
        password = pipeline.metrics_password.get_secret_value()
        auth = BasicAuth(METRICS_USER, password) if password else None
        routes = service_routes(telemetry.registry, self.health, self.about, auth)
        self.listen(pipeline.http_host, pipeline.http_port, routes)
        for sentence in advice(self.settings):
            telemetry.emit("config_advice", advice=sentence)
        threading.Thread(
            target=self.config.run, args=(self.stop,), name="configuration", daemon=True
        ).start()


def run(
    name: str,
    main: Callable[[Service], ExitCode],
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
        path = config_path(options.config, environ)
        file = ConfigFile(path, lambda: load_settings(path, environ, SECRETS_OF.get(name)))
        service = Service(name, file)
        service.start()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(ExitCode.CONFIG)
    lean_imports.end()
    code = service.run(lambda: main(service))
    service.finish(code)
    sys.exit(code)


def secrets_in(value: Any) -> Iterator[str]:
    """The texts that must never be logged."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, tuple | Mapping):  # several sources, headers
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from secrets_in(one)
