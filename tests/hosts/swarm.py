"""The deployment on a Swarm of three hosts: compose's project of the tests, deployed otherwise."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from common.errors import StackError
from devtools import PROJECT_ROOT
from devtools.hosts.engine import Engine
from devtools.hosts.images import DRIVER, has_images, link_images
from devtools.hosts.network import Network
from tests.compose.project import Project

HOSTS = ("node-one", "node-two", "node-three")
# It has the servers with data, and is told the commands; another one leads the Swarm.
DATA_HOST = HOSTS[1]
STACK = "etl"
# Not the one that other tests of the same engine build.
VERSION = "hosts-test"
DEADLINE_SECONDS = 240.0
# The stack's files have the pace of production. A check may take long, because what is unhealthy is
# ended, also on a busy machine; and a task counts as running only after its first check.
PACE = {
    "timeout: 5s": "timeout: 60s",
    "interval: 10s": "interval: 3s",
    "interval: 15s": "interval: 3s",
    "delay: 5s": "delay: 1s",
    "monitor: 60s": "monitor: 3s",
    "ETL_METRICS_LOG_LEVEL:": 'ETL_METRICS_REDIS_POLL_SECONDS: "0.5"\n      ETL_METRICS_LOG_LEVEL:',
}
# A gigabyte and a half, written twice.
IMAGES_SECONDS = 900.0
SERVERS = ("redis", "prometheus", "influxdb")
# A host that is cut off does not respond.
_METRICS_SECONDS = 1.0


class Swarm(Project):
    """Three engines as one Swarm, all of them managers; the first leads it at the beginning."""

    def __init__(self, work_dir: Path, network: Network) -> None:
        super().__init__(work_dir)
        self.network = network
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy is between the hosts
        build = PROJECT_ROOT / "build"
        build.mkdir(exist_ok=True)
        # Images of three engines: more than a machine may have where it keeps temporary files.
        self._scratch = Path(tempfile.mkdtemp(prefix="etl-swarm-", dir=build))
        self.engines = {
            host: Engine(host, self._scratch / host, network.place(host)) for host in HOSTS
        }
        self.manager = self.engines[DATA_HOST]
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
        self.manager.docker("node", "update", "--label-add", "etl-data=true", self.node(DATA_HOST))
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
        self._session.close()
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda engine: engine.close(), self.engines.values()))
        shutil.rmtree(self._scratch, ignore_errors=True)

    def show_logs(self) -> None:
        """What the Swarm says of its tasks."""
        with contextlib.suppress(Exception):
            print(self.manager.docker("stack", "ps", "--no-trunc", STACK))
        for service in ("extractor", "loader", "redis"):
            with contextlib.suppress(Exception):
                print(self.manager.docker("service", "logs", "--tail", "15", f"{STACK}_{service}"))

    def _start_engines(self) -> None:
        named = self.compose("--profile", "tools", "config", "--images").split()
        images = sorted(name for name in set(named) if "grafana" not in name)
        kept = self.docker("info", "--format", "{{.Driver}} {{.DockerRootDir}}").strip()
        driver, _, folder = kept.partition(" ")
        source, engines = Path(folder), list(self.engines.values())
        if driver != DRIVER or not has_images(source, images):
            self._load_images(engines[0], images)
            source, engines = engines[0].data_dir, engines[1:]
        for engine in engines:
            link_images(source, engine.data_dir, images)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda engine: engine.start(), self.engines.values()))

    def _load_images(self, engine: Engine, images: Sequence[str]) -> None:
        """Copy them from this machine's engine, which keeps them otherwise."""
        engine.start()
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saved:
            subprocess.run(
                ["docker", "--host", engine.host_url, "load", "--quiet"],
                stdin=saved.stdout,
                check=True,
                timeout=IMAGES_SECONDS,
                stdout=subprocess.DEVNULL,
            )

    def _join(self) -> None:
        first, address = self.engines[HOSTS[0]], self.network.address(HOSTS[0])
        first.docker("swarm", "init", "--advertise-addr", address)
        token = first.docker("swarm", "join-token", "--quiet", "manager").strip()
        for host in HOSTS[1:]:
            own = ("--advertise-addr", self.network.address(host), "--token", token)
            self.engines[host].docker("swarm", "join", *own, f"{address}:2377")
        self.wait(lambda: len(self.ready_nodes()) == len(HOSTS), "all nodes are ready")

    def deploy(self) -> None:
        """deploy/swarm/deploy, on files that differ in their pace."""
        tree = self.work_dir / "tree"
        shutil.copytree(PROJECT_ROOT / "deploy", tree / "deploy", dirs_exist_ok=True)
        shutil.copy(self.work_dir / "prometheus" / "prometheus.yml", tree / "deploy" / "prometheus")
        for file in (tree / "deploy" / "swarm").glob("*.yml"):
            text = file.read_text(encoding="utf-8")
            for production, here in PACE.items():
                text = text.replace(production, here)
            file.write_text(text, encoding="utf-8")
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
        """What etl-metrics exports: on every host its port is that of the task there, if any."""
        login = ("prometheus", self.secret("metrics_password"))
        for host in HOSTS:
            url = f"http://{self.network.address(host)}:{self.ports['ETL_METRICS_PORT']}/metrics"
            with contextlib.suppress(requests.RequestException):
                response = self._session.get(url, auth=login, timeout=_METRICS_SECONDS)
                if response.status_code == 200:
                    return response.text
        return ""

    def wait(
        self,
        condition: Callable[[], Any],
        what: str,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> Any:
        """Wait for a condition; while the Swarm has no leader, nothing holds."""

        def holds() -> Any:
            with contextlib.suppress(StackError):
                return condition()
            return None

        return super().wait(holds, what, deadline_seconds)

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

    def leader(self) -> str:
        """The host that leads the Swarm."""
        (leader,) = (one["ID"] for one in self.nodes() if one["ManagerStatus"] == "Leader")
        return next(host for host in HOSTS if self._ids()[host] == leader)

    def lead_beside_the_data(self) -> None:
        """Let another host than that of the data lead, which each election may have chosen.

        A leader that is demoted hands over, and is a manager like the others afterwards.
        """
        node, other = self._ids()[DATA_HOST], self.engines[HOSTS[0]]

        def status() -> str:
            form = "{{if .ManagerStatus}}{{.ManagerStatus.Reachability}}{{end}}"
            return other.docker("node", "inspect", "--format", form, node).strip()

        if self.leader() == DATA_HOST:
            other.docker("node", "demote", node)
            self.wait(lambda: not status(), "who led is a worker", DEADLINE_SECONDS)
            other.docker("node", "promote", node)
            self.wait(lambda: status() == "reachable", "it is a manager again", DEADLINE_SECONDS)
            self.wait(lambda: self.leader() != DATA_HOST, "another leads", DEADLINE_SECONDS)

    def host_with(self, service: str) -> str:
        """A host that runs a task of the service, and no servers with data."""
        return min(self.hosts_of(service) - {DATA_HOST})

    def place_on(self, host: str, service: str) -> None:
        """Add replicas until the host runs one: a new task goes where the fewest are."""
        while host not in self.hosts_of(service):
            more = len(self.tasks(service)) + 1
            self.manager.docker("service", "scale", "--detach", f"{STACK}_{service}={more}")
            self.wait_replicas()

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
