"""Test files of promtool, from the tables in ``cases``."""

from __future__ import annotations

from typing import Any

from monitoring.model import Alert, Case, Group
from monitoring.promql import duration


def test_document(rules: str, groups: tuple[Group, ...], cases: tuple[Case, ...]) -> dict[str, Any]:
    """Tests of the alerts of ``groups``, which lie in the file ``rules`` beside the test file.

    promtool evaluates all groups of a file at one interval, whatever their own.
    """
    alerts = {alert.name: alert for group in groups for alert in group.alerts}
    return {
        "rule_files": [rules],
        "evaluation_interval": duration(max(group.interval_seconds for group in groups)),
        "tests": [_test(case, alerts[case.alert]) for case in cases],
    }


def _test(case: Case, alert: Alert) -> dict[str, Any]:
    return {
        "name": f"{case.alert} {case.name}",
        "interval": duration(case.interval_seconds),
        "input_series": [
            {"series": series, "values": values} for series, values in case.series.items()
        ],
        "alert_rule_test": [
            {
                "alertname": case.alert,
                "eval_time": duration(case.at_seconds),
                "exp_alerts": [
                    {
                        "exp_labels": {**alert.labels, **firing.labels},
                        "exp_annotations": {
                            "summary": alert.summary,
                            "description": firing.description,
                            "runbook_url": alert.runbook_url,
                        },
                    }
                    for firing in case.firing
                ],
            }
        ],
    }
