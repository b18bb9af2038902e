"""Servers to learn with, as they would be there already: ``python -m devtools.playground``.

Prometheus with the project's alerts, InfluxDB, Redis and the simulator, each on its usual port of
loopback, until Ctrl-C. What is missing is unpacked into .tools/. docs/tutorial.md uses it.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from common.errors import EtlError, StackError
from devtools import PROJECT_ROOT
from devtools.servers import no_progress
from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.main import run_main
from devtools.servers.ports import HOST
from devtools.servers.prometheus_server import PrometheusServer, ScrapeJob
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until
from etlctl.run.ports import can_bind

FOLDER = PROJECT_ROOT / "build" / "playground"
RULES = PROJECT_ROOT / "deploy" / "prometheus" / "rules"
DATABASE = "health_metrics"
# The servers, and what `etlctl run --with-metrics --port 8180` starts.
PORTS = {"prometheus": 9090, "influxdb": 8086, "redis": 6390, "simulator": 8000}
STAGES = ("extractor", "transformer", "loader", "verifier", "etl-metrics")
FIRST_STAGE_PORT = 8180
SCRAPE_SECONDS = 5.0


class Playground:
    """The servers; ``ports`` and ``folder`` are others in tests."""

    def __init__(self, folder: Path = FOLDER, ports: dict[str, int] | None = None) -> None:
        self.ports = ports or PORTS
        self.token_file = folder / "influxdb_token"
        self.password_file = folder / "simulator_password"
        self._folder = folder

    def run(self, stack: ExitStack) -> None:
        """Start all of it; leaving ``stack`` ends it. Raises :class:`EtlError`."""
        for name, port in self.ports.items():
            if not can_bind(HOST, port):
                raise StackError(f"port {port}, which {name} needs, is taken")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, mode=0o700)
        token = secrets.token_urlsafe(24)
        for file, text in ((self.token_file, token), (self.password_file, secrets.token_urlsafe())):
            file.touch(mode=0o600)
            file.write_text(text + "\n", encoding="utf-8")
        logs, tools = self._folder / "logs", Toolbox(progress=no_progress)
        stack.enter_context(
            RedisServer(tools, self._folder / "redis", log_dir=logs, port=self.ports["redis"])
        )
        influx = InfluxServer(
            tools,
            self._folder / "influxdb",
            log_dir=logs,
            token=token,
            port=self.ports["influxdb"],
        )
        stack.enter_context(influx).create_database(DATABASE)
        stack.enter_context(self._simulator(logs))
        prometheus = stack.enter_context(self._prometheus(tools, logs))
        wait_until(
            lambda: prometheus.query('up{job="test-app"} == 1'),
            deadline_seconds=60,
            what="the first scrape of the simulator",
        )

    def _simulator(self, logs: Path) -> ServiceProcess:
        return ServiceProcess(
            "simulator",
            self._folder / "simulator",
            log_dir=logs,
            environ={"SIMULATOR_PASSWORD_FILE": str(self.password_file)},
            environ_prefix="SIMULATOR_",
            ready_path="/health",
            port=self.ports["simulator"],
        )

    def _prometheus(self, tools: Toolbox, logs: Path) -> PrometheusServer:
        stages = [
            ScrapeJob(name, (f"{HOST}:{FIRST_STAGE_PORT + index}",))
            for index, name in enumerate(STAGES)
        ]
        simulator = ScrapeJob(
            "test-app",
            (f"{HOST}:{self.ports['simulator']}",),
            username="prometheus",
            password_file=self.password_file,
        )
        return PrometheusServer(
            tools,
            self._folder / "prometheus",
            log_dir=logs,
            jobs=(
                ScrapeJob("prometheus", (f"{HOST}:{self.ports['prometheus']}",)),
                simulator,
                *stages,
            ),
            scrape_interval_seconds=SCRAPE_SECONDS,
            settings={"rule_files": [str(RULES / "*.yml")]},
            port=self.ports["prometheus"],
        )


def main(arguments: Sequence[str]) -> int:
    """Start them, say where they are, and wait."""
    if arguments:
        print("usage: python -m devtools.playground", file=sys.stderr)
        return 2
    playground = Playground()
    with ExitStack() as stack:
        try:
            playground.run(stack)
        except EtlError as error:
            print(f"playground: {error}", file=sys.stderr)
            return 1
        print(
            f"Prometheus  http://{HOST}:{PORTS['prometheus']}   with the alerts of this project\n"
            f"InfluxDB    http://{HOST}:{PORTS['influxdb']}   database {DATABASE}; the token is in"
            f" {playground.token_file.relative_to(PROJECT_ROOT)}\n"
            f"Redis       redis://{HOST}:{PORTS['redis']}/0\n"
            "Ctrl-C ends them; the next start begins anew. Logs are in build/playground/logs.",
            flush=True,
        )
        signal.pause()
    return 0


if __name__ == "__main__":
    run_main(main)
