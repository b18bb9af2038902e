"""vmagent: scrapes as Prometheus does, and sends what it scraped by remote write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from devtools.bench.live_world import JOB_NAMES, Scrape
from devtools.servers.binaries import Toolbox
from devtools.servers.http import missing_status
from devtools.servers.ports import HOST
from devtools.servers.processes import Server


class VmagentServer(Server):
    """vmagent with its defaults, between ``target`` and a VictoriaMetrics at ``sink_url``.

    It sends what it has each second, and keeps below ``work_dir`` what the sink does not take.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        work_dir: Path,
        *,
        target: str,
        sink_url: str,
        scrape: Scrape,
        log_dir: Path | None = None,
    ) -> None:
        super().__init__("vmagent", work_dir, log_dir=log_dir)
        self._toolbox = toolbox
        self._config = work_dir / "scrape.yml"
        self._target = target
        self._sink_url = sink_url
        self._scrape = scrape

    @property
    def url(self) -> str:
        """Base URL of its own pages."""
        return f"http://{HOST}:{self.port}"

    def environment(self) -> dict[str, str]:
        """Own libraries first, if it was unpacked."""
        return self._toolbox.program("vmagent").environment()

    def prepare(self) -> None:
        """Writes what is scraped, as Prometheus is told it."""
        document = {
            "global": {
                "scrape_interval": f"{self._scrape.interval_seconds:g}s",
                "scrape_timeout": f"{self._scrape.timeout_seconds:g}s",
            },
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [self._target]}]}
                for name in JOB_NAMES
            ],
        }
        self._config.write_text(yaml.safe_dump(document), encoding="utf-8")

    def command(self) -> Sequence[str]:
        """vmagent on loopback, which buffers in the folder that it runs in."""
        return [
            str(self._toolbox.program("vmagent").path),
            f"-httpListenAddr={HOST}:{self.port}",
            f"-promscrape.config={self._config}",
            f"-remoteWrite.url={self._sink_url}/api/v1/write",
            "-loggerLevel=ERROR",
        ]

    def probe(self) -> str | None:
        """``/health``."""
        return missing_status(f"{self.url}/health")
