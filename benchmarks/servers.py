"""Sinks beside influxd: VictoriaMetrics, which is faster, and one that costs nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from localstack.binaries import SOURCES, Source, Toolbox
from localstack.http import missing_status
from localstack.ports import HOST
from localstack.processes import Server

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


_CONF = """
daemon off;
master_process off;
{user}pid {dir}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_max_body_size 64m;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    scgi_temp_path {dir}/scgi;
    uwsgi_temp_path {dir}/uwsgi;
    keepalive_requests 1000000;
    server {{
        listen {listen};
        location = /health {{ return 200; }}
        location = /query {{ default_type application/json; return 200 '{{"results":[{{}}]}}'; }}
        location / {{ return 204; }}
    }}
}}
"""


class NullSink(Server):
    """An nginx that reads every body, keeps nothing and answers 204."""

    def __init__(self, tools: Toolbox, work_dir: Path, *, log_dir: Path | None = None) -> None:
        super().__init__("null-sink", work_dir, log_dir=log_dir)
        self._toolbox = tools
        self._config = work_dir / "nginx.conf"

    @property
    def url(self) -> str:
        """Base URL of the write path."""
        return f"http://{HOST}:{self.port}"

    def environment(self) -> dict[str, str]:
        """Own libraries first, if it was unpacked."""
        return self._toolbox.program("nginx").environment()

    def prepare(self) -> None:
        """Writes nginx.conf."""
        text = _CONF.format(
            user="user root root;\n" if os.geteuid() == 0 else "",
            dir=self.work_dir,
            listen=f"{HOST}:{self.port}",
        )
        self._config.write_text(text, encoding="utf-8")

    def command(self) -> Sequence[str]:
        """nginx with its file; ``-e`` because it logs before it has read that."""
        program = str(self._toolbox.program("nginx").path)
        return [program, "-p", str(self.work_dir), "-e", "stderr", "-c", str(self._config)]

    def probe(self) -> str | None:
        """``/health``."""
        return missing_status(f"{self.url}/health")
