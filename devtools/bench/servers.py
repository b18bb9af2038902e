"""Sinks beside influxd: VictoriaMetrics, which is faster, and one that costs nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from common.config.query import READ_CHECK
from devtools.servers.binaries import SOURCES, VICTORIA_METRICS, Toolbox
from devtools.servers.http import missing_status
from devtools.servers.nginx import NginxServer
from devtools.servers.ports import HOST
from devtools.servers.processes import Server


def toolbox() -> Toolbox:
    """The servers of the local stack, and VictoriaMetrics; unpacked when they are first used."""
    return Toolbox(sources=(*SOURCES, VICTORIA_METRICS))


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
            # A post that is sent again after a time-out counts once, as in InfluxDB.
            "-dedup.minScrapeInterval=1ms",
            # Else it holds all lines of a body at once, which takes it several times as long.
            "-influx.forceStreamMode",
            "-loggerLevel=ERROR",
        ]

    def probe(self) -> str | None:
        """``/health``."""
        return missing_status(f"{self.url}/health")

    def forget_data(self) -> None:
        """Removes all series."""
        shutil.rmtree(self._data_dir, ignore_errors=True)


# The loader is ready only where it can read what it wrote: the one point that it asks for is there.
_HTTP = """
    client_max_body_size 64m;
    map $args $series {{
        default '';
        ~{read_check} '"series":[{{"columns":["time","value"],"values":[[0,1]]}}]';
    }}
    server {{
        listen {listen};
        location = /health {{ return 200; }}
        location = /query {{
            default_type application/json;
            return 200 '{{"results":[{{$series}}]}}';
        }}
        location / {{ return 204; }}
    }}
"""


class NullSink(NginxServer):
    """An nginx that reads every body, keeps nothing and answers 204."""

    def __init__(self, tools: Toolbox, work_dir: Path, *, log_dir: Path | None = None) -> None:
        super().__init__(tools, "null-sink", work_dir, log_dir=log_dir)

    def config_text(self) -> str:
        """A write path, and responses to requests for its health and data."""
        listen = f"{HOST}:{self.port}"
        return self.within_folder(_HTTP.format(listen=listen, read_check=READ_CHECK))

    def probe(self) -> str | None:
        """``/health``."""
        return missing_status(f"{self.url}/health")
