"""From nothing to verified points on one's own servers: init, run, verify."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from common.exit_codes import ExitCode
from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.waiting import wait_until
from tests.integration.etlctl.run.rig import Run, environment, etlctl


@pytest.mark.timeout(400)
def test_init_run_verify(
    tmp_path: Path,
    path: str,
    make_run: Callable[..., Run],
    prometheus_server: PrometheusServer,
    influx_server: InfluxServer,
) -> None:
    wait_until(
        lambda: prometheus_server.query("count_over_time(up[1m]) > 2"),
        deadline_seconds=60,
        what="Prometheus has scraped itself",
    )
    config, bucket = tmp_path / "etl.yaml", f"t{uuid.uuid4().hex[:12]}"
    made = etlctl(
        environment(path),
        *("init", "--yes", "--config", str(config), "--bucket", bucket),
        *("--prometheus-url", prometheus_server.url, "--influxdb-url", influx_server.url),
    )
    assert made.returncode == 0, made.stderr
    run = make_run(config)
    run.until_said("all stages are ready")
    run.until_more_is_loaded()
    proven = run.etlctl("verify", "--accept", "incomplete,explained", "--json")
    assert proven.returncode == 0, proven.stdout + proven.stderr
    queries = {one["query"]: one for one in json.loads(proven.stdout)["queries"]}
    assert queries["prometheus"]["equal"] > 0
    assert all(one["unexplained"] == 0 for one in queries.values())
    run.signal(signal.SIGINT)
    assert run.ends() == ExitCode.OK, run.output
    influx_server.drop_database(bucket)
