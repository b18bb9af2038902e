"""Alert rules as Grafana provisions them, from the same definitions as Prometheus' rules.

Each is three steps, as Grafana's own editor makes them: A queries Prometheus, B takes the newest
value of each series, C compares it. What is assumed about Grafana: docs/monitoring.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from monitoring.alerts.unreachable import UNREACHABLE
from monitoring.model import Alert, Group, PanelRef
from monitoring.promql import duration
from monitoring.render.panel_names import ALERT_FOLDER, DATASOURCE, RUNBOOK_DASHBOARD
from monitoring.render.timing import evaluation_seconds
from monitoring.thresholds import Thresholds

ORG = 1
_EXPRESSIONS = "__expr__"
_OPERATORS = {">": "gt", "<": "lt"}
# Grafana requests a range even where it then reads an instant.
_RANGE_SECONDS = 600

# Uids of rules that were provisioned once and no longer exist here: Grafana keeps a rule until a
# file deletes it.
RETIRED: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Places:
    """Where alerts lead: ids of the dashboards' panels, and the runbook's panel of each alert."""

    panels: Mapping[PanelRef, int]
    runbook_ids: Mapping[str, int]
    first_steps: Mapping[str, str]


def alert_file(groups: tuple[Group, ...], places: Places, t: Thresholds) -> dict[str, Any]:
    """The content of one provisioning file."""
    document: dict[str, Any] = {"apiVersion": 1}
    if RETIRED:
        document["deleteRules"] = [{"orgId": ORG, "uid": uid} for uid in RETIRED]
    document["groups"] = [
        {
            "orgId": ORG,
            "name": group.name,
            "folder": ALERT_FOLDER,
            "interval": duration(evaluation_seconds(group, t)),
            "rules": [_rule(alert, places) for alert in group.alerts],
        }
        for group in groups
        if group.alerts
    ]
    return document


def _rule(alert: Alert, places: Places) -> dict[str, Any]:
    return {
        "uid": alert.slug,
        "title": alert.name,
        "condition": "C",
        "data": [
            _step("A", DATASOURCE, _RANGE_SECONDS, {"expr": alert.query, "instant": True,
                                                    "range": False, "editorMode": "code"}),
            _step("B", _EXPRESSIONS, 0, {"type": "reduce", "expression": "A", "reducer": "last"}),
            _step("C", _EXPRESSIONS, 0, {"type": "threshold", "expression": "B",
                                         "conditions": [_condition(alert)]}),
        ],
        # Nothing is compared inside the query, so no data means that its metrics do not exist: a
        # stack without a pipeline, say. What must exist is checked with absent().
        "noDataState": "OK",
        # While Prometheus does not respond nothing is known, so nothing changes; one alert of its
        # own reports it.
        "execErrState": "Alerting" if alert is UNREACHABLE else "KeepLast",
        "for": duration(alert.for_seconds) if alert.for_seconds else "0s",
        **_tied_to(alert, places.panels[alert.panel]),
        "annotations": _annotations(alert, places),
        "labels": alert.labels,
        "isPaused": False,
    }  # fmt: skip


def _tied_to(alert: Alert, panel_id: int) -> dict[str, Any]:
    """The panel whose state a rule is; not of the one that fires always, for it has none."""
    if alert.severity == "none":
        return {}
    return {"dashboardUid": alert.panel.dashboard, "panelId": panel_id}


def _annotations(alert: Alert, places: Places) -> dict[str, str]:
    # Below the address that Grafana is reached at, which the message puts before it.
    runbook = f"d/{RUNBOOK_DASHBOARD}?viewPanel={places.runbook_ids[alert.name]}"
    public = urlsplit(alert.runbook_url).scheme
    found = {
        "summary": alert.summary,
        "description": description(alert),
        "first_step": places.first_steps[alert.name],
        "runbook": runbook,
        "runbook_url": alert.runbook_url if public else f"/{runbook}",
    }
    if alert.for_seconds:
        found["waited"] = duration(alert.for_seconds)
    tied = _tied_to(alert, places.panels[alert.panel])
    return found | {f"__{key}__": str(value) for key, value in tied.items()}


def description(alert: Alert) -> str:
    """The description in Grafana's form, whole in every state.

    ``.Value`` is a text there; the number is B's, which a rule without data has not, nor labels.
    """
    text = re.sub(
        r"{{ \.Value( \| \w+)? }}",
        r"{{ with .Values.B }}{{ .Value\1 }}{{ else }}an unknown number of{{ end }}",
        alert.description,
    )
    return re.sub(
        r"{{ \.Labels\.(\w+) }}",
        r"{{ with .Labels.\1 }}{{ . }}{{ else }}an unknown \1{{ end }}",
        text,
    )


def _step(ref: str, datasource: str, seconds: int, model: dict[str, Any]) -> dict[str, Any]:
    kind = "prometheus" if datasource == DATASOURCE else _EXPRESSIONS
    return {
        "refId": ref,
        "relativeTimeRange": {"from": seconds, "to": 0},
        "datasourceUid": datasource,
        "model": {
            "refId": ref,
            "datasource": {"type": kind, "uid": datasource},
            **model,
            "intervalMs": 1000,
            "maxDataPoints": 43200,
        },
    }


def _condition(alert: Alert) -> dict[str, Any]:
    limit = alert.limit
    return {"evaluator": {"type": _OPERATORS[limit.operator], "params": [limit.value]}}
