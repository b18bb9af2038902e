"""Alerts, recording rules and dashboards, defined once and rendered for Prometheus and Grafana.

``python -m monitoring render`` writes what lies below ``monitoring/prometheus`` and
``monitoring/grafana``; both are committed, and ``python -m monitoring check`` compares. To change
a threshold, edit ``thresholds.py`` and render.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PROJECT_ROOT = FOLDER.parent
