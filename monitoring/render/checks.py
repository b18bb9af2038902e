"""What ``make monitoring-check`` runs: rendered files compared, checked by promtool and compose."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from common.runtime.metrics_table import METRICS
from devtools.servers.binaries import Toolbox
from etlctl.secrets.derived import WEB, WEB_TLS
from etlctl.secrets.fill import fill
from etlctl.secrets.folder import open_folder
from monitoring import DEPLOY_FOLDER
from monitoring.render.compose_checks import COMBINATIONS, compose_is_here, compose_problem
from monitoring.render.files import differences
from monitoring.render.prometheus_config import SECRETS

_TIMEOUT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """One check: its name, and what is wrong; nothing if all is well, or if it was ``skipped``."""

    name: str
    problem: str
    skipped: bool = False


class Promtool:
    """Checks files; the one in PATH, else the distribution's, unpacked."""

    def __init__(self, toolbox: Toolbox | None = None) -> None:
        self._program = (toolbox or Toolbox()).program("promtool")

    def run(self, *arguments: str, given: str = "") -> str:
        """What promtool finds wrong, with ``given`` on its stdin; empty if nothing."""
        try:
            done = subprocess.run(
                [str(self._program.path), *arguments],
                input=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=self._program.environment(),
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"promtool did not finish within {_TIMEOUT_SECONDS} s"
        return done.stdout.strip() if done.returncode else ""


def check_all(promtool: Promtool, folder: Path = DEPLOY_FOLDER) -> list[Outcome]:
    """Every check, in order; later ones run whatever the earlier ones found."""
    tests = sorted((folder / "prometheus" / "tests").glob("*.yml"))
    outcomes = check_files(promtool, folder)
    with ThreadPoolExecutor() as pool:
        problems = pool.map(lambda test: run_tests(promtool, test), tests)
        outcomes += [
            Outcome(f"promtool test rules {test.name}", problem)
            for test, problem in zip(tests, problems, strict=True)
        ]
    return [*outcomes, *check_compose()]


def run_tests(promtool: Promtool, test: Path) -> str:
    """What promtool finds wrong when it runs a file of tests of alerts.

    It evaluates all that a rule file holds at each step of each test, so each alert is given to it
    without the others, whose tests are in files of their own then.
    """
    document = _read(test)
    (rules,) = document["rule_files"]
    groups = _read(test.parent / rules)["groups"]
    tests_of: dict[str, list[Any]] = {}
    for one in document["tests"]:
        (checked,) = one["alert_rule_test"]
        tests_of.setdefault(checked["alertname"], []).append(one)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = []
        for alert, tests in tests_of.items():
            kept = []
            for group in groups:
                rules_left = [rule for rule in group["rules"] if rule.get("alert", alert) == alert]
                kept.append({**group, "rules": rules_left})
            # JSON is YAML.
            (folder / f"{alert}-rules.yml").write_text(json.dumps({"groups": kept}))
            its_own = {**document, "rule_files": [f"{alert}-rules.yml"], "tests": tests}
            files.append(folder / f"{alert}.yml")
            files[-1].write_text(json.dumps(its_own))
        return promtool.run("test", "rules", *map(str, files))


def _read(file: Path) -> Any:
    return yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)


def check_compose() -> list[Outcome]:
    """Whether compose reads its files; skipped where there is no compose."""
    if not compose_is_here():
        return [Outcome("docker compose config: there is no docker compose", "", skipped=True)]
    return [
        Outcome(f"docker compose config of {' and '.join(files)}", compose_problem(files))
        for files in COMBINATIONS
    ]


def check_files(promtool: Promtool, folder: Path = DEPLOY_FOLDER) -> list[Outcome]:
    """Everything but the tests of the alerts, which take longest."""
    prometheus = folder / "prometheus"
    rules = sorted(map(str, (prometheus / "rules").glob("*.yml")))
    return [
        Outcome(
            "rendered files are as the definitions render them", "\n".join(differences(folder))
        ),
        Outcome("promtool check rules", promtool.run("check", "rules", "--lint-fatal", *rules)),
        *_check_configs(promtool, prometheus),
        *(
            Outcome(
                f"promtool check metrics of {service}",
                promtool.run("check", "metrics", given=exposition(service)),
            )
            for service in sorted({service for spec in METRICS for service in spec.services})
        ),
    ]


def check_expressions(promtool: Promtool, expressions: Sequence[str]) -> str:
    """Which of the PromQL expressions do not parse; variables must have been replaced."""
    rules = [
        {"record": f"expression:{number}", "expr": expression}
        for number, expression in enumerate(expressions)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "expressions.yml"
        # JSON is YAML.
        path.write_text(json.dumps({"groups": [{"name": "expressions", "rules": rules}]}))
        return promtool.run("check", "rules", str(path))


def exposition(service: str) -> str:
    """What a service exports according to the tables, in Prometheus' text format, all values 0."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    for spec in METRICS:
        if service not in spec.services:
            continue
        metric: Counter | Gauge | Histogram
        if spec.kind == "histogram":
            metric = Histogram(
                spec.name, spec.help, spec.labels, buckets=spec.buckets, registry=registry
            )
        else:
            kind = Counter if spec.kind == "counter" else Gauge
            metric = kind(spec.name, spec.help, spec.labels, registry=registry)
        if spec.labels:
            metric.labels(*("some" for _ in spec.labels))
    return generate_latest(registry).decode()


def _check_configs(promtool: Promtool, prometheus: Path) -> Iterator[Outcome]:
    """promtool requires the files that a configuration names: fresh secrets, made as for real."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open_folder(folder / "secrets", create=True) as secrets:
            fill(secrets, lambda _, __: None, with_tls=True)
        shutil.copytree(prometheus / "rules", folder / "rules")
        for original in sorted(prometheus.glob("*.yml")):
            config = _moved(original, folder / original.name, folder / "secrets")
            problem = promtool.run("check", "config", "--lint-fatal", str(config))
            yield Outcome(f"promtool check config {original.name}", problem.replace(name, "…"))
        for one in (WEB, WEB_TLS):
            web = _moved(folder / "secrets" / one.name, folder / one.name, folder / "secrets")
            problem = promtool.run("check", "web-config", str(web))
            yield Outcome(f"promtool check web-config {one.name}", problem.replace(name, "…"))


def _moved(original: Path, copy: Path, secrets: Path) -> Path:
    """A copy that names the secrets where they are here, not where a container has them."""
    text = original.read_text(encoding="utf-8").replace(f"{SECRETS}/", f"{secrets}/")
    copy.write_text(text, encoding="utf-8")
    return copy
