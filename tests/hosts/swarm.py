"""The deployment on a Swarm of three hosts: compose's project of the tests, deployed otherwise."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from devtools import PROJECT_ROOT
from devtools.hosts.engine import Engine
from devtools.hosts.network import Network
from tests.compose.project import Project

HOSTS = ("node-one", "node-two", "node-three")
STACK = "etl"
# Not the one that other tests of the same engine build.
VERSION = "hosts-test"
DEADLINE_SECONDS = 240.0
HEARTBEAT = "10s"
# A gigabyte and a half, written twice.
IMAGES_SECONDS = 900.0
SERVERS = ("redis", "prometheus", "influxdb")
_READ_METRICS = """
import base64, urllib.request as r
password = open("/run/secrets/metrics_password").read().strip()
login = base64.b64encode(f"prometheus:{password}".encode()).decode()
request = r.Request("http://etl-metrics:8083/metrics", headers={"Authorization": f"Basic {login}"})
print(r.urlopen(request, timeout=5).read().decode())
"""


class Swarm(Project):
    """Three engines as one Swarm; the first is the manager and has the servers with data."""

    def __init__(self, work_dir: Path, network: Network) -> None:
        super().__init__(work_dir)
        self.network = network
        build = PROJECT_ROOT / "build"
        build.mkdir(exist_ok=True)
        # Images of three engines: more than a machine may have where it keeps temporary files.
        self._scratch = Path(tempfile.mkdtemp(prefix="etl-swarm-", dir=build))
        self.engines = {
            host: Engine(host, self._scratch / host, network.place(host)) for host in HOSTS
        }
        self.manager = self.engines[HOSTS[0]]
        self.environment |= {
            "ETL_STACK": STACK,
            "ETL_VERSION": VERSION,
            # No node has that label: there is no Grafana among the stand-ins.
            "GRAFANA_PLACEMENT": "node.labels.grafana == true",
        }
        if not self.official:
            self.environment |= {
                f"{name.upper()}_IMAGE": f"etl-stand-in-{name}:latest" for name in SERVERS
            }

    def up(self, *options: str) -> None:
        """Images, engines, Swarm, stack: everything at work when this returns."""
        del options
        began = time.monotonic()
        self._start_engines()
        print(f"three engines with images after {time.monotonic() - began:.1f} s")
        self._join()
        self.manager.docker("node", "update", "--label-add", "etl-data=true", self.node(HOSTS[0]))
        print(f"a Swarm after {time.monotonic() - began:.1f} s")
        self.environment["DOCKER_HOST"] = self.manager.host_url
        self.deploy()
        self.wait_replicas()
        self.start_tool()
        self.flows(1)
        print(f"samples loaded after {time.monotonic() - began:.1f} s")

    def close(self) -> None:
        """Kill the engines with all that they run, and remove what they kept."""
        self.network.heal()
        for engine in self.engines.values():
            engine.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def show_logs(self) -> None:
        """What the Swarm says of its tasks."""
        with contextlib.suppress(Exception):
            print(self.manager.docker("stack", "ps", "--no-trunc", STACK))
        for service in ("extractor", "loader", "redis"):
            with contextlib.suppress(Exception):
                print(self.manager.docker("service", "logs", "--tail", "15", f"{STACK}_{service}"))

    def _start_engines(self) -> None:
        first, others = self.manager, list(self.engines.values())[1:]
        first.start()
        named = self.compose("--profile", "tools", "config", "--images").split()
        images = sorted(name for name in set(named) if "grafana" not in name)
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saved:
            subprocess.run(
                ["docker", "--host", first.host_url, "load", "--quiet"],
                stdin=saved.stdout,
                check=True,
                timeout=IMAGES_SECONDS,
                stdout=subprocess.DEVNULL,
            )
        first.stop(60)
        for other in others:
            first.share_images_with(other)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda engine: engine.start(), self.engines.values()))

    def _join(self) -> None:
        address = self.network.address(HOSTS[0])
        # A busy machine may be silent for longer than the three times 5 s of the default.
        pace = ("--dispatcher-heartbeat", HEARTBEAT)
        self.manager.docker("swarm", "init", "--advertise-addr", address, *pace)
        token = self.manager.docker("swarm", "join-token", "--quiet", "worker").strip()
        for host in HOSTS[1:]:
            own = ("--advertise-addr", self.network.address(host), "--token", token)
            self.engines[host].docker("swarm", "join", *own, f"{address}:2377")
        self.wait(lambda: len(self.ready_nodes()) == len(HOSTS), "all nodes are ready")

    def deploy(self) -> None:
        """deploy/swarm/deploy, on files that differ in how often Prometheus scrapes.

        And in how long a check may take: what is unhealthy is ended, also for a busy machine.
        """
        tree = self.work_dir / "tree"
        shutil.copytree(PROJECT_ROOT / "deploy", tree / "deploy", dirs_exist_ok=True)
        shutil.copy(self.work_dir / "prometheus" / "prometheus.yml", tree / "deploy" / "prometheus")
        for file in (tree / "deploy" / "swarm").glob("*.yml"):
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace("timeout: 5s", "timeout: 60s"), encoding="utf-8")
        self._run([str(tree / "deploy" / "swarm" / "deploy")], DEADLINE_SECONDS)

    def start_tool(self) -> None:
        """etlctl as docs/swarm.md runs it, waiting for commands; Prometheus is in `frontend`."""
        options = {
            "ETL__PIPELINE__REDIS_URL": "redis://etlctl@redis:6379/0",
            "ETL__PIPELINE__REDIS_PASSWORD_FILE": "/run/secrets/redis_etlctl_password",
            "ETL__EXTRACT__PROMETHEUS_URL": "http://prometheus:9090",
            "ETL__EXTRACT__AUTH__USERNAME": "readonly",
            "ETL__EXTRACT__AUTH__PASSWORD_FILE": "/run/secrets/prometheus_readonly_password",
            "ETL__LOAD__INFLUXDB__URL": "http://influxdb:8086",
            "ETL__LOAD__INFLUXDB__TOKEN_FILE": "/run/secrets/influxdb_token",
        }
        environment = [part for key, value in options.items() for part in ("-e", f"{key}={value}")]
        name = f"{self.name}-tool"
        self.manager.docker(
            *("create", "--init", "--name", name, "--network", f"{STACK}_backend"),
            *("--volume", f"{self.secrets_dir}:/run/secrets:ro"),
            *("--volume", f"{self.environment['ETL_CONFIG_FILE']}:/etc/etl/etl.yaml:ro"),
            *("--user", f"{os.getuid()}:{os.getgid()}", *environment),
            *("--entrypoint", "sleep", f"etl-etlctl:{VERSION}", "infinity"),
        )
        self.manager.docker("network", "connect", f"{STACK}_frontend", name)
        self.manager.docker("start", name)
        self.tool = name

    def pipeline_metrics(self) -> str:
        """What etl-metrics exports, wherever it runs."""
        done = subprocess.run(
            ["docker", "exec", self.tool, "python", "-c", _READ_METRICS],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout

    # --- what there is -----------------------------------------------------------------------

    def nodes(self) -> list[dict[str, str]]:
        output = self.manager.docker("node", "ls", "--format", "{{json .}}")
        return [json.loads(line) for line in output.splitlines()]

    def ready_nodes(self) -> list[str]:
        return [one["ID"] for one in self.nodes() if one["Status"] == "Ready"]

    def node(self, host: str) -> str:
        """The Swarm's id of a host: its engines all have the same hostname."""
        return self.engines[host].docker("info", "--format", "{{.Swarm.NodeID}}").strip()

    def tasks(self, service: str) -> list[dict[str, Any]]:
        """The tasks of a service that should run and do."""
        ids = self.manager.docker(
            *("service", "ps", "--quiet", "--filter", "desired-state=running"), f"{STACK}_{service}"
        ).split()
        found: list[dict[str, Any]] = (
            json.loads(self.manager.docker("inspect", *ids)) if ids else []
        )
        return [one for one in found if one["Status"]["State"] == "running"]

    def hosts_of(self, service: str) -> set[str]:
        ids = {one["NodeID"] for one in self.tasks(service)}
        return {host for host in HOSTS if self._ids()[host] in ids}

    def _ids(self) -> dict[str, str]:
        if not hasattr(self, "_known_ids"):
            self._known_ids = {host: self.node(host) for host in HOSTS}
        return self._known_ids

    def host_with(self, service: str) -> str:
        """A host that runs a task of the service, and no servers with data."""
        return min(self.hosts_of(service) - {HOSTS[0]})

    def containers_on(self, host: str, service: str = "") -> set[str]:
        """The ids of running containers of the stack on a host, whatever the Swarm knows."""
        label = f"swarm.service.name={STACK}_{service}" if service else f"stack.namespace={STACK}"
        chosen = ("--filter", f"label=com.docker.{label}")
        return set(self.engines[host].docker("ps", "--quiet", "--no-trunc", *chosen).split())

    def is_ready(self, host: str) -> bool:
        """Whether the manager hears the host."""
        return self._ids()[host] in self.ready_nodes()

    def set_availability(self, host: str, availability: str) -> None:
        """``drain`` a host, or make it ``active``."""
        node = self._ids()[host]
        self.manager.docker("node", "update", "--availability", availability, node)

    def update(self, service: str, *options: str) -> None:
        """Change a service and wait until its tasks are replaced."""
        name = f"{STACK}_{service}"
        self.manager.docker("service", "update", "--detach", *options, name)

        def state() -> str:
            form = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}"
            return self.manager.docker("service", "inspect", "--format", form, name).strip()

        self.wait(lambda: state() == "completed", f"the update of {service} is completed", 240)

    def wait_replicas(self) -> None:
        """Wait until every service has as many tasks as it should, but Grafana."""

        def whole() -> bool:
            output = self.manager.docker("service", "ls", "--format", "{{.Name}} {{.Replicas}}")
            lines = [line.split() for line in output.splitlines() if "grafana" not in line]
            counts = [replicas.split("/") for _, replicas, *_ in lines]
            return all(now == wanted for now, wanted in counts)

        self.wait(whole, "all replicas run", DEADLINE_SECONDS)
