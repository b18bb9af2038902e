"""A panel's own queries, asked of a Prometheus as Grafana asks them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from devtools.servers.http import get_json
from monitoring.dashboards.spec import INSTANT, DashboardSpec, PanelSpec

STEPS = 60
# Longer than two evaluations of any rule, and four scrapes of this stack.
RATE_SECONDS = 15
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Line:
    """A series under its legend; ``(time in seconds, value)``, one of them for an instant."""

    legend: str
    points: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Source:
    """A Prometheus, and the time of it that is shown, in seconds since the epoch."""

    url: str
    start: float
    end: float

    def lines(self, board: DashboardSpec, panel: PanelSpec) -> list[Line]:
        """What a panel shows. Raises :class:`~common.errors.StackError`."""
        found = []
        instant = panel.kind in INSTANT
        for query in panel.queries:
            asked = {"query": self._filled(query.expr, board)}
            if instant:
                answer = get_json(
                    f"{self.url}/api/v1/query", params=asked | {"time": str(self.end)}
                )
            else:
                step = (self.end - self.start) / STEPS
                bounds = {"start": str(self.start), "end": str(self.end), "step": f"{step:.3f}"}
                answer = get_json(f"{self.url}/api/v1/query_range", params=asked | bounds)
            for series in answer["data"]["result"]:
                values = [series["value"]] if instant else series["values"]
                points = [(float(at), float(value)) for at, value in values]
                kept = [point for point in points if isfinite(point[1])]
                if kept:
                    found.append(Line(_legend(query.legend, series["metric"]), kept))
        return found

    def _filled(self, expr: str, board: DashboardSpec) -> str:
        """With what Grafana puts in the place of its variables."""
        values = {
            "$__rate_interval": f"{RATE_SECONDS}s",
            "$__range": f"{self.end - self.start:.0f}s",
            "$job": "|".join(board.jobs),
            "$instance": ".+",
        }
        for name, value in values.items():
            expr = expr.replace(name, value)
        return expr


def _legend(template: str, labels: Mapping[str, str]) -> str:
    return _LABEL.sub(lambda found: labels.get(found[1], ""), template)
