"""The sink of the benchmark that costs nothing, as the loader finds it."""

from __future__ import annotations

import threading
from pathlib import Path

from common.config import InfluxSettings
from devtools.bench.servers import NullSink
from devtools.servers.binaries import Toolbox
from services.loader.read_check import ReadCheck


def test_the_loader_reads_its_own_point_and_no_watermark(
    toolbox: Toolbox, tmp_path: Path, log_dir: Path
) -> None:
    with NullSink(toolbox, tmp_path, log_dir=log_dir) as sink:
        settings = InfluxSettings(url=sink.url, org="o", bucket="b")
        check = ReadCheck.over_own_connections(settings, "etl", ["b"], threading.Event())
        try:
            check()
            assert check.reader.read("b", "query", "hot") is None
        finally:
            check.close()
