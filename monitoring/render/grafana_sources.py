"""Provisioning of Grafana's data source and of the folder that its dashboards lie in."""

from __future__ import annotations

from typing import Any

from monitoring.promql import duration
from monitoring.render.grafana_alerts import ORG
from monitoring.render.panel_names import DASHBOARD_FOLDER, DATASOURCE
from monitoring.render.prometheus_config import SECRETS
from monitoring.thresholds import Thresholds

DASHBOARDS_PATH = "/etc/grafana/dashboards"


def datasource_file(
    t: Thresholds, *, url: str = "http://prometheus:9090", ca_file: str | None = None
) -> dict[str, Any]:
    """Prometheus, with the password of its user ``readonly``; ``ca_file`` vouches for HTTPS."""
    json_data: dict[str, Any] = {
        "httpMethod": "POST",
        "prometheusType": "Prometheus",
        # $__rate_interval is at least four of these.
        "timeInterval": duration(t.scrape_interval_seconds),
        # Its rules are the same alerts once more.
        "manageAlerts": False,
    }
    secure = {"basicAuthPassword": f"$__file{{{SECRETS}/prometheus_readonly_password}}"}
    if ca_file is not None:
        json_data["tlsAuthWithCACert"] = True
        secure["tlsCACert"] = f"$__file{{{ca_file}}}"
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "orgId": ORG,
                "name": "Prometheus",
                "uid": DATASOURCE,
                "type": "prometheus",
                "access": "proxy",
                "url": url,
                "isDefault": True,
                "editable": False,
                "basicAuth": True,
                "basicAuthUser": "readonly",
                "jsonData": json_data,
                "secureJsonData": secure,
            }
        ],
    }


def dashboards_file() -> dict[str, Any]:
    """Where Grafana finds the dashboards; what is changed in the browser cannot be saved."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "orgId": ORG,
                "name": "etl",
                "folder": DASHBOARD_FOLDER,
                "type": "file",
                "disableDeletion": True,
                "allowUiUpdates": False,
                "updateIntervalSeconds": 30,
                "options": {"path": DASHBOARDS_PATH},
            }
        ],
    }
