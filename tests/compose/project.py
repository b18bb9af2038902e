"""One compose project for the tests: its own name, secrets, ports, and a quicker pace."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from urllib.request import Request, urlopen

import yaml

from devtools import PROJECT_ROOT
from devtools.servers.ports import free_port
from devtools.servers.waiting import wait_until
from etlctl.stack.compose import without_start_interval
from services.verifier.verdict import EXIT_CODES
from tests.compose import engine
from tests.compose.exposition import metric_value, metric_values
from tests.compose.pace import etl_config, prometheus_config

STAGES = ("extractor", "transformer", "loader")
LOADER_START_PERIOD = "15s"
DEADLINE_SECONDS = 120.0
_BUILD_SECONDS = 900.0
# Of etl-metrics.
LOADED = 'etl_ledger_samples{account="loaded"}'
# Rollups have a window every hour.
WATERMARK = 'etl_loaded_watermark_timestamp_seconds{tier="hot"}'
DEAD_LETTERS = "etl_dead_letters_kept"
IMBALANCE = "etl_ledger_imbalance_samples"
# What speaks TLS where the overlay is laid over.
_WITH_TLS = ("PROMETHEUS_PORT", "GRAFANA_PORT", "SIMULATOR_PORT")
_PORTS = ("PROMETHEUS_PORT", "GRAFANA_PORT", "ETL_METRICS_PORT", "SIMULATOR_PORT")


class Project:
    """docker compose with the deployment's own files; every wait here has a deadline."""

    def __init__(self, work_dir: Path, *, tls: bool = False) -> None:
        self.name = f"etl-test-{'tls-' if tls else ''}{os.getpid()}"
        self.tls = tls
        self.work_dir = work_dir
        self.secrets_dir = work_dir / "secrets"
        self.ports = {variable: free_port() for variable in _PORTS}
        self.official = engine.official_images()
        self.files = ["docker-compose.yml"]
        self.environment = os.environ | {
            "COMPOSE_PROJECT_NAME": self.name,
            "COMPOSE_ANSI": "never",
            "COMPOSE_PROGRESS": "quiet",
            "SECRETS_DIR": str(self.secrets_dir),
            "ETL_CONFIG_FILE": str(work_dir / "etl.yaml"),
            "ETL_VERSION": "test",
            **{variable: str(port) for variable, port in self.ports.items()},
        }
        if not self.official:
            self.files.append("deploy/compose/stand-ins.yml")
            self.environment["PYTHON_IMAGE"] = engine.STAND_IN_PYTHON
        if tls:
            self.files.append("deploy/compose/tls.yml")
        self.tool = ""

    # --- up and down -------------------------------------------------------------------------

    def prepare(self) -> None:
        """Everything before ``up``: base images, secrets, configuration."""
        if not self.official:
            engine.make_stand_ins()
            bundle = os.environ.get("CA_BUNDLE_FILE") or os.environ.get("SSL_CERT_FILE")
            if bundle:
                self.environment["CA_BUNDLE_FILE"] = bundle
        options = ["--tls"] if self.tls else []
        self.etlctl_here("secrets", "init", "--dir", str(self.secrets_dir), *options)
        self.write_config(etl_config())
        source = PROJECT_ROOT / "deploy" / "prometheus"
        target = self.work_dir / "prometheus"
        (target / "rules").mkdir(parents=True)
        for rules in (source / "rules").glob("*.yml"):
            (target / "rules" / rules.name).write_bytes(rules.read_bytes())
        for name in ("prometheus.yml", "prometheus-tls.yml"):
            quick = yaml.safe_dump(prometheus_config(source / name))
            (target / name).write_text(quick, encoding="utf-8")
        pace = self.work_dir / "pace.yml"
        mount = f"{target}:/etc/prometheus:ro"
        # Its folders are for users of other numbers than who runs the tests.
        for folder in (self.work_dir, target, target / "rules"):
            folder.chmod(0o755)
        services = {
            "prometheus": {"volumes": [mount]},
            "etl-metrics": {"environment": {"ETL_METRICS_REDIS_POLL_SECONDS": "0.5"}},
            # A loader that is not ready is called unhealthy only after this.
            "loader": {"healthcheck": {"start_period": LOADER_START_PERIOD}},
        }
        pace.write_text(yaml.safe_dump({"services": services}), encoding="utf-8")
        self.files.append(str(pace))
        config = json.loads(self.compose("config", "--format", "json"))
        major, minor = self.docker("version", "--format", "{{.Server.APIVersion}}").split(".")
        if change := without_start_interval(config, (int(major), int(minor))):
            path = self.work_dir / "old-engine.yml"
            path.write_text(change, encoding="utf-8")
            self.files.append(str(path))

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the etl.yaml that the containers mount, in place: the mount is of the file."""
        path = Path(self.environment["ETL_CONFIG_FILE"])
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        path.chmod(0o644)

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.compose("build", timeout_seconds=_BUILD_SECONDS)
            self.up()
        except BaseException:
            self.show_logs()
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def up(self, *options: str) -> None:
        """``up --wait``: returns when everything is healthy."""
        self.compose("up", "--detach", "--wait", "--no-build", *options)
        self.start_tool()

    def close(self) -> None:
        """Remove containers, networks and volumes."""
        self.stop_tool()
        with contextlib.suppress(subprocess.CalledProcessError):
            self.compose(
                "--profile", "tools", "down", "--volumes", "--remove-orphans", "--timeout", "10"
            )

    def show_logs(self) -> None:
        """What the containers said last, for the report of a failed test."""
        with contextlib.suppress(subprocess.CalledProcessError):
            print(self.compose("ps", "--all"))
            print(self.compose("logs", "--tail", "15", "--no-color"))

    # --- commands ----------------------------------------------------------------------------

    def command(self, *arguments: str) -> list[str]:
        """The command line of docker compose."""
        files = [part for file in self.files for part in ("--file", file)]
        return ["docker", "compose", *files, *arguments]

    def compose(self, *arguments: str, timeout_seconds: float = DEADLINE_SECONDS) -> str:
        """Run docker compose; its output. Raises with what it said if it fails."""
        return self._run(self.command(*arguments), timeout_seconds)

    def docker(self, *arguments: str, timeout_seconds: float = DEADLINE_SECONDS) -> str:
        """Run docker; its output."""
        return self._run(["docker", *arguments], timeout_seconds)

    def etlctl_here(self, *arguments: str) -> str:
        """Run the operator's command on this machine, as ``make up`` does."""
        return self._run([sys.executable, "-m", "etlctl", *arguments], DEADLINE_SECONDS)

    def etlctl(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run the operator's command inside the deployment; its standard output."""
        command = ["docker", "exec", self.tool, "python", "-m", "etlctl", *arguments]
        return self._run(command, DEADLINE_SECONDS, codes)

    def _run(
        self, command: list[str], timeout_seconds: float, codes: tuple[int, ...] = (0,)
    ) -> str:
        done = subprocess.run(
            command,
            cwd=PROJECT_ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        if done.returncode not in codes:
            print(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
            raise subprocess.CalledProcessError(
                done.returncode, command, done.stdout[-2000:], done.stderr[-2000:]
            )
        return done.stdout

    def start_tool(self) -> None:
        """A container that waits for etlctl commands: quicker than a container a call."""
        if self.tool:
            return
        name = f"{self.name}-tool"
        self.compose(
            *("run", "--detach", "--no-deps", "--name", name, "--entrypoint", "sleep"),
            *("etlctl", "infinity"),
        )
        self.tool = name

    def stop_tool(self) -> None:
        """Remove that container."""
        if self.tool:
            with contextlib.suppress(subprocess.CalledProcessError):
                self.docker("rm", "--force", self.tool)
            self.tool = ""

    # --- what there is -----------------------------------------------------------------------

    def _ps(self, *options: str, every: bool = False, **labels: str) -> list[str]:
        # A request to the engine takes a twentieth of the time that compose takes.
        states = () if every else ("status=running", "status=paused")
        labels = {"project": self.name, "oneoff": "False", **labels}
        chosen = (*states, *(f"label=com.docker.compose.{k}={v}" for k, v in labels.items()))
        filters = (part for one in chosen for part in ("--filter", one))
        return self.docker("ps", "--all", *options, *filters).split()

    def running(self) -> list[str]:
        """The service of each running container."""
        return self._ps("--format", '{{.Label "com.docker.compose.service"}}')

    def containers(self, service: str, *, every: bool = False) -> list[str]:
        """The ids of a service's running containers, or of all of them."""
        return self._ps("--quiet", "--no-trunc", every=every, service=service)

    def container(self, service: str) -> str:
        """The id of the one container of a service."""
        (only,) = self.containers(service)
        return only

    @contextlib.contextmanager
    def paused(self, containers: list[str]) -> Iterator[None]:
        """Containers that stand still inside the block, and run again after it in any case."""

        def stands(container: str) -> bool:
            # A freeze fails where a process starts meanwhile, as a health check does: again then.
            self._run(["docker", "pause", container], DEADLINE_SECONDS, codes=(0, 1))
            return bool(self.inspect(container)["State"]["Paused"])

        try:
            for container in containers:
                self.wait(functools.partial(stands, container), f"{container} is paused")
            yield
        finally:
            for container in containers:
                if self.inspect(container)["State"]["Paused"]:
                    self.docker("unpause", container)

    def inspect(self, container: str) -> dict[str, Any]:
        """docker inspect of a container."""
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", container))
        return found[0]

    def address(self, variable: str) -> str:
        """The address that a published port is reached at."""
        scheme = "https" if self.tls and variable in _WITH_TLS else "http"
        return f"{scheme}://127.0.0.1:{self.ports[variable]}"

    def secret(self, name: str) -> str:
        """The value of a secret."""
        return (self.secrets_dir / name).read_text(encoding="utf-8").strip()

    def get(self, url: str, user: str = "", password: str = "") -> tuple[int, bytes]:
        """Status and body of a GET; an error status is no exception.

        With TLS only the deployment's own authority is trusted.
        """
        trusted = None
        if url.startswith("https:"):
            trusted = ssl.create_default_context(cafile=str(self.secrets_dir / "tls_ca.crt"))
        request = Request(url)
        if user:
            token = b64encode(f"{user}:{password}".encode()).decode("ascii")
            request.add_header("Authorization", f"Basic {token}")
        try:
            with urlopen(request, timeout=10, context=trusted) as response:
                return response.status, response.read()
        except OSError as error:
            status = getattr(error, "code", None)
            if status is None:
                raise
            return int(status), b""

    def query(self, promql: str) -> list[dict[str, Any]]:
        """The result of an instant query of the deployment's Prometheus."""
        url = f"{self.address('PROMETHEUS_PORT')}/api/v1/query?query={quote(promql)}"
        status, body = self.get(url, "readonly", self.secret("prometheus_readonly_password"))
        assert status == 200, (status, promql)
        found: list[dict[str, Any]] = json.loads(body)["data"]["result"]
        return found

    def health(self, container: str) -> str:
        """``healthy``, ``unhealthy`` or ``starting``; the state itself where there is no check."""
        state = self.inspect(container)["State"]
        return str(state.get("Health", state)["Status"])

    def wait(
        self,
        condition: Callable[[], Any],
        what: str,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> Any:
        """Wait for a condition."""
        return wait_until(condition, deadline_seconds=deadline_seconds, what=what, poll_seconds=0.3)

    # --- proofs ------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """etlctl status, as data."""
        document: dict[str, Any] = json.loads(self.etlctl("status", "--json", codes=(0, 1)))
        return document

    def pipeline_metrics(self) -> str:
        """What etl-metrics exports: quicker than a command, a moment old."""
        try:
            url = f"{self.address('ETL_METRICS_PORT')}/metrics"
            status, body = self.get(url, "prometheus", self.secret("metrics_password"))
        except OSError:
            return ""
        return body.decode() if status == 200 else ""

    def loaded(self) -> float:
        """Samples loaded since the ledger began; 0 while nobody knows."""
        return metric_value(self.pipeline_metrics(), LOADED)

    def flows(self, more_than: int = 500) -> None:
        """Wait until so many more samples are loaded than now."""
        before = self.wait(self.loaded, "etl-metrics knows what is loaded")
        self.wait(lambda: self.loaded() >= before + more_than, f"{more_than} more samples loaded")

    def watermark_ms(self) -> int:
        """The time up to which every query is loaded in the hot tier; 0 while nobody knows."""
        return int(min(metric_values(self.pipeline_metrics(), WATERMARK), default=0.0) * 1000)

    def dead_letters(self) -> int:
        """How many dead letters are kept."""
        return int(metric_value(self.pipeline_metrics(), DEAD_LETTERS))

    def prove(self, since_ms: int) -> dict[str, Any]:
        """Wait until everything up to now is loaded; then source and sink must be equal.

        ``since_ms`` is where the comparison begins, milliseconds since the epoch; the ledger is
        that of the whole run.
        """
        now_ms = int(time.time() * 1000)
        self.wait(lambda: self.watermark_ms() >= now_ms, "everything until now is loaded")
        output = self.etlctl(
            *("verify", "--json", "--from", f"{since_ms / 1000:.3f}"),
            *("--to", f"{now_ms / 1000:.3f}"),
            codes=tuple(EXIT_CODES.values()),
        )
        verified: dict[str, Any] = json.loads(output)
        # So short a range may hold no point of one of the queries.
        assert verified["verdict"] in ("equal", "nothing_to_compare"), verified
        assert sum(query["expected"] for query in verified["queries"]) > 0, verified
        # What etlctl status would say, without a Python start.
        imbalance = self.wait(lambda: metric_values(self.pipeline_metrics(), IMBALANCE), IMBALANCE)
        assert imbalance == [0.0]
        return verified

    @contextlib.contextmanager
    def proven(self) -> Iterator[None]:
        """What happens inside loses nothing and counts nothing twice."""
        since_ms = int(time.time() * 1000)
        try:
            yield
            self.prove(since_ms)
        except BaseException:
            self.show_logs()
            raise
