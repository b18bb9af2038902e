"""Alerts, recording rules and dashboards, defined once and rendered for Prometheus and Grafana.

``python -m monitoring render`` writes what lies below ``deploy/prometheus`` and
``deploy/grafana``; both are committed, and ``python -m monitoring check`` compares. To change
a threshold, edit ``thresholds.py`` and render.
"""

from __future__ import annotations

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]
DEPLOY_FOLDER = PROJECT_ROOT / "deploy"
