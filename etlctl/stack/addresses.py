"""Where to look once it runs, as whom, and how to see the password."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from etlctl.secrets.command import DEFAULT_DIR
from etlctl.stack.project import Project

# Service, path, what is there, user, secret of the password.
_PLACES = (
    ("grafana", "/d/etl-monitoring", "dashboards", "admin", "grafana_admin_password"),
    ("prometheus", "/targets", "metrics, alerts", "admin", "prometheus_admin_password"),
    ("etl-metrics", "/metrics", "the pipeline as a whole", "prometheus", "metrics_password"),
    ("etl-simulator", "/metrics", "the test application", "prometheus", "simulator_password"),
)


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
