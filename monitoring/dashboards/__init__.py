"""The dashboards, as tables of panels; grafana-foundation-sdk turns them into Grafana's JSON."""

from __future__ import annotations

from monitoring.dashboards.pipeline import pipeline_dashboard
from monitoring.dashboards.process import process_dashboard
from monitoring.dashboards.spec import DashboardSpec
from monitoring.thresholds import Thresholds

DASHBOARDS: tuple[DashboardSpec, ...] = (
    process_dashboard(Thresholds()),
    pipeline_dashboard(Thresholds()),
)
