"""The one alert that only Grafana can have: Prometheus does not answer its queries."""

from __future__ import annotations

from monitoring.model import Alert, Limit, PanelRef
from monitoring.render.panel_names import PROCESS_DASHBOARD
from monitoring.thresholds import Thresholds

UNREACHABLE = Alert(
    name="EtlPrometheusUnreachable",
    severity="critical",
    summary="Grafana cannot ask Prometheus.",
    description=(
        "Prometheus does not answer Grafana's queries: no other alert can be evaluated, and the"
        " dashboards show nothing."
    ),
    # Never below: it fires when the query fails.
    query="vector(1)",
    limit=Limit("<", 1),
    for_seconds=Thresholds().endpoint_down_for_seconds,
    panel=PanelRef(PROCESS_DASHBOARD, "Health status"),
)
