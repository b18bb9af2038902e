"""Uids and titles that alerts, dashboards and the runbook call the same things by."""

from __future__ import annotations

PROCESS_DASHBOARD = "etl-monitoring"
PIPELINE_DASHBOARD = "etl-pipeline"
RUNBOOK_DASHBOARD = "etl-runbook"
DASHBOARD_FOLDER = "ETL"
# Another than the dashboards': two provisioners that make one folder at the same start may not
# agree about it.
ALERT_FOLDER = "ETL alerts"
DATASOURCE = "etl-prometheus"
