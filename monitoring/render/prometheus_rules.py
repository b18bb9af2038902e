"""Rule files of Prometheus."""

from __future__ import annotations

from typing import Any

from monitoring.model import Alert, Group
from monitoring.promql import duration


def rule_file(groups: tuple[Group, ...]) -> dict[str, Any]:
    """The content of one rule file."""
    return {"groups": [_group(group) for group in groups]}


def _group(group: Group) -> dict[str, Any]:
    rules: list[dict[str, Any]] = [
        {"record": recording.record, "expr": recording.expr} for recording in group.recordings
    ]
    rules += [_alert(alert) for alert in group.alerts]
    return {"name": group.name, "interval": duration(group.interval_seconds), "rules": rules}


def _alert(alert: Alert) -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": alert.name, "expr": alert.expr}
    if alert.for_seconds:
        rule["for"] = duration(alert.for_seconds)
    return rule | {
        "labels": dict(alert.labels),
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": alert.runbook_url,
        },
    }
