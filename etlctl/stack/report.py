"""What a person reads of the stack: how the containers are, and where to look once they run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.markup import escape

from etlctl.secrets.command import DEFAULT_DIR
from etlctl.stack.project import Container, Project
from etlctl.tables import Table

# Service, path, what is there, user, secret of the password.
_PLACES = (
    ("grafana", "/d/etl-monitoring", "dashboards", "admin", "grafana_admin_password"),
    ("prometheus", "/targets", "metrics, alerts", "admin", "prometheus_admin_password"),
    ("etl-metrics", "/metrics", "the pipeline as a whole", "prometheus", "metrics_password"),
    ("etl-simulator", "/metrics", "the test application", "prometheus", "simulator_password"),
)


def report(project: Project, containers: Iterable[Container]) -> tuple[Table, bool]:
    """A row for each service, and whether all of them are as they should be."""
    table = Table("Containers", "service", "running", "healthy", texts=("problems",))
    by_service: dict[str, list[Container]] = {name: [] for name in project.services}
    for one in containers:
        by_service.setdefault(one.service, []).append(one)
    all_well = True
    for service, those in sorted(by_service.items()):
        problems = [f"{one.name}: {one.condition()}" for one in those if not project.is_well(one)]
        if not those:
            problems.append("no container")
        running = sum(one.running for one in those)
        healthy = sum(one.running and one.health == "healthy" for one in those)
        table.add_row(
            service,
            str(running) if running or problems else "done",
            str(healthy or "–"),
            escape("\n".join(problems)),
        )
        all_well = all_well and not problems
    return table, all_well


def addresses(project: Project, secrets: Path) -> Iterator[str]:
    """A line for each service that a person may look at; ``secrets`` is the directory of those."""
    show = "etlctl secrets show" + ("" if secrets == DEFAULT_DIR else f" --dir {secrets}")
    for name, path, what, user, secret in _PLACES:
        port = project.find_port(name)
        if port is None:
            continue
        host = "127.0.0.1" if port.host in ("0.0.0.0", "::") else port.host
        url = f"{project.services[name].scheme}://{host}:{port.number}{path}"
        yield f"{name:14} {url:44} {what}; user {user}, password: {show} {secret}"
