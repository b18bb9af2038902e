"""What a dashboard is made of; :mod:`monitoring.dashboards.grafana` writes it as Grafana's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from monitoring.model import PanelRef

Kind = Literal["lines", "bars", "stat", "pie", "timeline"]

# Grafana's names of units.
SECONDS = "s"
BYTES = "bytes"
SHARE = "percentunit"
COUNT = "short"
SAMPLES_PER_SECOND = "suffix: samples/s"
RECORDS_PER_SECOND = "suffix: records/s"
PER_SECOND = "suffix:/s"
BYTES_PER_SECOND = "binBps"
CORES = "suffix: cores"
NONE = "none"

WIDTH = 24

# Inside a selector: the processes that the dashboard's variables choose.
CHOSEN = 'job=~"$job", instance=~"$instance"'
# After the selector of a counter: as long as Grafana needs for a rate.
RATE = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query; ``legend`` names its series, ``{{label}}`` stands for a label's value.

    ``instant`` queries the end of the time range only.
    """

    expr: str
    legend: str
    instant: bool = False


@dataclass(frozen=True, slots=True)
class PanelSpec:
    """One panel.

    ``limit_of`` names the alert whose limit is drawn: one that compares the very same value.
    ``values`` gives numbers a text and a colour.
    """

    title: str
    kind: Kind
    help: str
    queries: tuple[Query, ...]
    unit: str
    width: int = 8
    height: int = 8
    limit_of: str | None = None
    values: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    stacked: bool = False
    minimum: float | None = 0


@dataclass(frozen=True, slots=True)
class RowSpec:
    """Panels under a common heading."""

    title: str
    panels: tuple[PanelSpec, ...]


@dataclass(frozen=True, slots=True)
class DashboardSpec:
    """One dashboard. Rows without a title are panels without a heading above them.

    ``variables`` are name → query of a template variable, in order.
    """

    uid: str
    title: str
    help: str
    rows: tuple[RowSpec, ...]
    variables: Mapping[str, str]

    def panel_ids(self) -> dict[PanelRef, int]:
        """The id of each panel; headings have ids too."""
        ids: dict[PanelRef, int] = {}
        number = 0
        for row in self.rows:
            number += bool(row.title)
            for panel in row.panels:
                number += 1
                ids[PanelRef(self.uid, panel.title)] = number
        return ids
