"""Alert rules as Grafana provisions them, from the same definitions as Prometheus' rules.

Each is three steps, as Grafana's own editor makes them: A queries Prometheus, B takes the newest
value of each series, C compares it. What is assumed about Grafana: docs/monitoring.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from monitoring.model import Alert, Group, PanelRef
from monitoring.promql import duration
from monitoring.render.panel_names import ALERT_FOLDER, DATASOURCE
from monitoring.thresholds import ETL_METRICS, Thresholds

ORG = 1
_EXPRESSIONS = "__expr__"
_OPERATORS = {">": "gt", "<": "lt"}
# Grafana requests a range even where it then reads an instant.
_RANGE_SECONDS = 600

# Uids of rules that were provisioned once and no longer exist here: Grafana keeps a rule until a
# file deletes it.
RETIRED: tuple[str, ...] = ()


def alert_file(
    groups: tuple[Group, ...], panels: Mapping[PanelRef, int], t: Thresholds
) -> dict[str, Any]:
    """The content of one provisioning file; ``panels`` are the ids of the dashboards' panels."""
    document: dict[str, Any] = {"apiVersion": 1}
    if RETIRED:
        document["deleteRules"] = [{"orgId": ORG, "uid": uid} for uid in RETIRED]
    document["groups"] = [
        {
            "orgId": ORG,
            "name": group.name,
            "folder": ALERT_FOLDER,
            "interval": duration(max(group.interval_seconds, t.grafana_evaluation_seconds)),
            "rules": [_rule(alert, panels[alert.panel]) for alert in group.alerts],
        }
        for group in groups
        if group.alerts
    ]
    return document


def _rule(alert: Alert, panel_id: int) -> dict[str, Any]:
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
        # While Prometheus does not respond nothing is known, so nothing changes; the one alert
        # about missing metrics reports it.
        "execErrState": "Alerting" if f'absent(up{{job="{ETL_METRICS}"}})' in alert.query
        else "KeepLast",
        "for": duration(alert.for_seconds) if alert.for_seconds else "0s",
        "dashboardUid": alert.panel.dashboard,
        "panelId": panel_id,
        "annotations": {
            "summary": alert.summary,
            "description": description(alert),
            "runbook_url": alert.runbook_url,
            "__dashboardUid__": alert.panel.dashboard,
            "__panelId__": str(panel_id),
        },
        "labels": alert.labels,
        "isPaused": False,
    }  # fmt: skip


def description(alert: Alert) -> str:
    """The description in Grafana's form: ``.Value`` is a text there, the number is B's."""
    return re.sub(r"{{ \.Value\b", "{{ .Values.B.Value", alert.description)


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
