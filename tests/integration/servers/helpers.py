"""What several tests of the servers need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psutil
import requests

from devtools.servers.binaries import Source, Toolbox
from devtools.servers.influx_server import InfluxServer


def hidden(tools_dir: Path, sources: Sequence[Source] | None = None, **options: object) -> Toolbox:
    """A toolbox that finds nothing in PATH."""
    more = {} if sources is None else {"sources": sources}
    return Toolbox(tools_dir, search_path="", system_folders=False, **more, **options)  # type: ignore[arg-type]


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def write(
    server: InfluxServer, bucket: str, body: str | bytes, **headers: str
) -> requests.Response:
    return requests.post(
        f"{server.url}/api/v2/write",
        params={"org": "any", "bucket": bucket, "precision": "ms"},
        data=body,
        headers=server.headers | headers,
        timeout=10,
    )
