"""A real VictoriaMetrics (single node), as a source that speaks Prometheus' query API."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests
import yaml

from common.errors import StackError
from devtools.servers.binaries import Toolbox
from devtools.servers.http import get_json, missing_status
from devtools.servers.ports import HOST
from devtools.servers.processes import Server

_SECONDS = 30


class VictoriaMetricsServer(Server):
    """VictoriaMetrics that scrapes its targets each second as job ``app``.

    ``flags`` are further arguments. Samples of the last moments are served at once, which is not
    its default (``-search.latencyOffset``).
    """

    def __init__(
        self,
        toolbox: Toolbox,
        work_dir: Path,
        *,
        name: str = "victoria-metrics",
        log_dir: Path | None = None,
        flags: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        super().__init__(name, work_dir, log_dir=log_dir, port=port)
        self._toolbox = toolbox
        self._config = work_dir / "scrape.yml"
        self._targets: list[str] = []
        self._flags = tuple(flags)

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://{HOST}:{self.port}"

    def environment(self) -> dict[str, str]:
        """Own libraries first, if it was unpacked."""
        return self._toolbox.program("victoria-metrics").environment()

    def prepare(self) -> None:
        """Writes what is scraped."""
        job = {"job_name": "app", "static_configs": [{"targets": self._targets}]}
        document = {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
        self._config.write_text(yaml.safe_dump(document), encoding="utf-8")

    def command(self) -> Sequence[str]:
        """VictoriaMetrics on loopback."""
        return [
            str(self._toolbox.program("victoria-metrics").path),
            f"-httpListenAddr={HOST}:{self.port}",
            f"-storageDataPath={self.work_dir / 'data'}",
            "-retentionPeriod=100y",
            "-search.latencyOffset=0s",
            f"-promscrape.config={self._config}",
            *self._flags,
        ]

    def probe(self) -> str | None:
        """``/-/ready``."""
        return missing_status(f"{self.url}/-/ready")

    def set_targets(self, targets: Sequence[str]) -> None:
        """What it scrapes from its next start on."""
        self._targets = list(targets)

    def api(self, path: str, **parameters: str | float) -> Any:
        """``data`` of a GET of ``/api/v1/{path}``; for tests, not for the pipeline."""
        return get_json(f"{self.url}/api/v1/{path}", params=parameters)["data"]

    def backfill(self, openmetrics: str) -> None:
        """Adds samples from OpenMetrics text (seconds), and shows them at once.

        Raises :class:`StackError` when it refuses them.
        """
        samples = (
            line.rsplit(" ", 1) for line in openmetrics.splitlines() if not line.startswith("#")
        )
        text = "".join(f"{head} {round(float(seconds) * 1000)}\n" for head, seconds in samples)
        for path, body in (("api/v1/import/prometheus", text), ("internal/force_flush", "")):
            response = requests.post(f"{self.url}/{path}", data=body.encode(), timeout=_SECONDS)
            if response.status_code >= 300:
                raise StackError(f"{self.name} refuses {path}: {response.text[:300]}")
