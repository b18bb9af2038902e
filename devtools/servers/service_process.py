"""One of our own services as a child process."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from devtools import PROJECT_ROOT
from devtools.servers.http import missing_status
from devtools.servers.processes import Server
from etlctl.run import STAGE_ENVIRON

_OURS = ("ETL_", "SIMULATOR_")


class ServiceProcess(Server):
    """``python -m services.MODULE --config FILE``, its HTTP on a free port of its place.

    ``environ`` is laid over this process' environment, from which settings of ours (``ETL_…``,
    ``SIMULATOR_…``) are taken out first, so that only what is given here configures the service.
    """

    # Longer than a service's own deadline for draining.
    stop_seconds = 40.0

    def __init__(
        self,
        module: str,
        work_dir: Path,
        *,
        config: Path | None = None,
        name: str | None = None,
        log_dir: Path | None = None,
        environ: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        ready_path: str = "/readyz",
        environ_prefix: str = "ETL__PIPELINE__",
        port: int | None = None,
    ) -> None:
        super().__init__(name or module, work_dir, log_dir=log_dir, port=port)
        self.module = module
        self.config = config
        self._environ = dict(environ or {})
        self._arguments = tuple(arguments)
        self._ready_path = ready_path
        self._environ_prefix = environ_prefix

    @property
    def address(self) -> str:
        """``host:port``, as a scrape target."""
        return f"{self.place.address}:{self.port}"

    @property
    def url(self) -> str:
        """Base URL of its HTTP."""
        return f"http://{self.address}"

    def environment(self) -> dict[str, str]:
        """See the class."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
        return {
            **kept,
            "PYTHONPATH": os.pathsep.join(
                filter(None, (str(PROJECT_ROOT), os.environ.get("PYTHONPATH")))
            ),
            **STAGE_ENVIRON,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            f"{self._environ_prefix}HTTP_HOST": self.place.address,
            f"{self._environ_prefix}HTTP_PORT": str(self.port),
            **self._environ,
        }

    def command(self) -> Sequence[str]:
        """The interpreter that runs this, and the service's module."""
        config = ("--config", str(self.config)) if self.config is not None else ()
        return [sys.executable, "-m", f"services.{self.module}", *config, *self._arguments]

    def probe(self) -> str | None:
        """``ready_path`` must answer 200; what it says instead names the missing dependency."""
        return missing_status(f"{self.url}{self._ready_path}")

    def missing_live(self) -> str | None:
        """None if ``/livez`` answers 200, else what came instead."""
        return missing_status(f"{self.url}/livez")

    def start_unready(self) -> Self:
        """Launches without waiting for readiness, e.g. when a dependency is away on purpose."""
        return self.start(wait=False)
