"""The parts of grafana-foundation-sdk that are used.

It would rather see dashboards of the second schema, which older Grafanas do not read, and warns of
the first at import. Every Grafana reads the first.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import common as common_builders
    from grafana_foundation_sdk.builders import dashboard as build
    from grafana_foundation_sdk.builders import (
        piechart,
        prometheus,
        stat,
        statetimeline,
        text,
        timeseries,
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import common, dashboard
    from grafana_foundation_sdk.models.piechart import PieChartLegendValues
    from grafana_foundation_sdk.models.text import TextMode

__all__ = [
    "JSONEncoder",
    "PieChartLegendValues",
    "TextMode",
    "build",
    "common",
    "common_builders",
    "dashboard",
    "piechart",
    "prometheus",
    "stat",
    "statetimeline",
    "text",
    "timeseries",
]
