"""Every rendered file, by its path below ``deploy/``."""

from __future__ import annotations

from pathlib import Path

from monitoring import DEPLOY_FOLDER
from monitoring.alerts.unreachable import UNREACHABLE
from monitoring.cases import CASES
from monitoring.catalogue import all_alerts, groups
from monitoring.dashboards import DASHBOARDS
from monitoring.dashboards.grafana import dashboard_json, runbook_json
from monitoring.model import Group, PanelRef
from monitoring.render.grafana_alerts import Places, alert_file
from monitoring.render.grafana_receivers import receivers_file
from monitoring.render.grafana_sources import dashboards_file, datasource_file
from monitoring.render.panel_names import RUNBOOK_DASHBOARD
from monitoring.render.prometheus_config import SECRETS, Scraping, prometheus_config
from monitoring.render.prometheus_rules import rule_file
from monitoring.render.promtool_tests import test_document
from monitoring.render.receivers import Receivers
from monitoring.render.runbook import first_step, panel_ids, sections
from monitoring.render.yaml_text import dump
from monitoring.thresholds import Thresholds

# Below these everything is rendered: what else lies there is a leftover.
RENDERED = ("prometheus", "grafana")

_PROVISIONING = "grafana/provisioning"
# Of the own authority that `etlctl secrets init --tls` makes.
_CA = f"{SECRETS}/tls_ca.crt"
_TLS = "where Prometheus and the simulator speak HTTPS."
_RECEIVERS = (
    "Contact points, notification policies and message template.\n"
    "`python -m monitoring receivers` renders yours: docs/monitoring.md."
)


def render(t: Thresholds | None = None) -> dict[str, str]:
    """Path below ``deploy/`` → text."""
    t = t or Thresholds()
    alerts = (*all_alerts(t), UNREACHABLE)
    panels: dict[PanelRef, int] = {}
    for spec in DASHBOARDS:
        panels |= spec.panel_ids()
    runbook = sections()
    runbook_ids = panel_ids(runbook)
    places = Places(panels, runbook_ids, {one.alert: first_step(one) for one in runbook})
    files = {
        "prometheus/prometheus.yml": dump(
            prometheus_config(t, Scraping()),
            "Configuration of Prometheus; paths are a container's.",
        ),
        "prometheus/prometheus-tls.yml": dump(
            prometheus_config(t, Scraping(ca_file=_CA)), f"prometheus.yml {_TLS}"
        ),
        "grafana/tls/datasources/prometheus.yaml": dump(
            datasource_file(t, url="https://prometheus:9090", ca_file=_CA),
            f"Grafana's data source {_TLS}",
        ),
        f"{_PROVISIONING}/datasources/prometheus.yaml": dump(
            datasource_file(t), "Grafana's data source."
        ),
        f"{_PROVISIONING}/dashboards/etl.yaml": dump(
            dashboards_file(), "Where Grafana finds the dashboards."
        ),
        # Grafana misses the folder at each start, and logs an error.
        f"{_PROVISIONING}/plugins/etl.yaml": dump(
            {"apiVersion": 1, "apps": []}, "Plugins that Grafana is to set up: none."
        ),
        f"{_PROVISIONING}/alerting/receivers.yaml": render_receivers(Receivers()),
        f"grafana/dashboards/{RUNBOOK_DASHBOARD}.json": runbook_json(
            runbook,
            runbook_ids,
            {alert.name: (alert.panel, panels[alert.panel]) for alert in alerts},
        ),
    }
    own = (Group("etl-grafana", t.evaluation_seconds, alerts=(UNREACHABLE,)),)
    files[f"{_PROVISIONING}/alerting/etl-grafana.yaml"] = dump(
        alert_file(own, places, t), "The alert rule that only Grafana can have."
    )
    for spec in DASHBOARDS:
        files[f"grafana/dashboards/{spec.uid}.json"] = dashboard_json(spec, alerts, runbook_ids)
    for name, its_groups in groups(t).items():
        files[f"prometheus/rules/{name}.yml"] = dump(rule_file(its_groups), "Rules of Prometheus.")
        files[f"{_PROVISIONING}/alerting/{name}.yaml"] = dump(
            alert_file(its_groups, places, t), "Alert rules of Grafana."
        )
    for name, (rules, cases) in CASES.items():
        files[f"prometheus/tests/{name}.yml"] = dump(
            test_document(f"../rules/{rules}.yml", groups(t)[rules], cases),
            f"Unit tests for promtool of rules/{rules}.yml.",
        )
    return files


def render_receivers(receivers: Receivers) -> str:
    """The provisioning file of contact points and policies."""
    return dump(receivers_file(receivers), f"{_RECEIVERS}\n{receivers.summary}")


def differences(folder: Path = DEPLOY_FOLDER) -> list[str]:
    """A line for each file that is not as rendered, missing, or left over."""
    wanted = render()
    lines = []
    for name, text in sorted(wanted.items()):
        path = folder / name
        if not path.is_file():
            lines.append(f"deploy/{name} is missing")
        elif path.read_text(encoding="utf-8") != text:
            lines.append(f"deploy/{name} is not as the definitions render it")
    lines += [f"deploy/{name} is no longer rendered" for name in _leftovers(folder, wanted)]
    return lines


def write(folder: Path = DEPLOY_FOLDER) -> list[str]:
    """Render; the files that changed."""
    wanted = render()
    changed = []
    for name, text in sorted(wanted.items()):
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    for name in _leftovers(folder, wanted):
        (folder / name).unlink()
        changed.append(name)
    return changed


def _leftovers(folder: Path, wanted: dict[str, str]) -> list[str]:
    there = {
        path.relative_to(folder).as_posix()
        for part in RENDERED
        for path in (folder / part).rglob("*")
        if path.is_file()
    }
    return sorted(there - wanted.keys())
