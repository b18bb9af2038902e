"""Sinks beside influxd: VictoriaMetrics, which is faster, and one that costs nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from devtools.servers.binaries import SOURCES, Source, Toolbox
from devtools.servers.http import missing_status
from devtools.servers.nginx import NginxServer
from devtools.servers.ports import HOST
from devtools.servers.processes import Server

VICTORIA = Source("victoria-metrics", ("victoria-metrics",), ("victoria-metrics",))


def toolbox() -> Toolbox:
    """The servers of the local stack, and VictoriaMetrics; unpacked when they are first used."""
    return Toolbox(sources=(*SOURCES, VICTORIA))


class VictoriaServer(Server):
    """VictoriaMetrics, which speaks InfluxDB 2's write path itself. No token, no buckets."""

    def __init__(self, tools: Toolbox, work_dir: Path, *, log_dir: Path | None = None) -> None:
        super().__init__("victoria-metrics", work_dir, log_dir=log_dir)
        self._toolbox = tools
        self._data_dir = work_dir / "data"

    @property
    def url(self) -> str:
        """Base URL of the write path."""
        return f"http://{HOST}:{self.port}"

    def environment(self) -> dict[str, str]:
        """Own libraries first, if it was unpacked."""
        return self._toolbox.program("victoria-metrics").environment()

    def command(self) -> Sequence[str]:
        """The single-node server on loopback, its data below ``work_dir``."""
        return [
            str(self._toolbox.program("victoria-metrics").path),
            f"-httpListenAddr={HOST}:{self.port}",
            f"-storageDataPath={self._data_dir}",
            "-retentionPeriod=12",
            "-loggerLevel=ERROR",
        ]

    def probe(self) -> str | None:
        """``/health``."""
        return missing_status(f"{self.url}/health")

    def forget_data(self) -> None:
        """Removes all series."""
        shutil.rmtree(self._data_dir, ignore_errors=True)


_HTTP = """
    client_max_body_size 64m;
    server {{
        listen {listen};
        location = /health {{ return 200; }}
        location = /query {{ default_type application/json; return 200 '{{"results":[{{}}]}}'; }}
        location / {{ return 204; }}
    }}
"""


class NullSink(NginxServer):
    """An nginx that reads every body, keeps nothing and answers 204."""

    def __init__(self, tools: Toolbox, work_dir: Path, *, log_dir: Path | None = None) -> None:
        super().__init__(tools, "null-sink", work_dir, log_dir=log_dir)

    def config_text(self) -> str:
        """A write path, and responses to requests for its health and data."""
        return self.within_folder(_HTTP.format(listen=f"{HOST}:{self.port}"))

    def probe(self) -> str | None:
        """``/health``."""
        return missing_status(f"{self.url}/health")
