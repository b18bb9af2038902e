"""What a dashboard is made of; :mod:`monitoring.dashboards.grafana` writes it as Grafana's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from monitoring.model import Limit, PanelRef

# "alerts" is Grafana's own list of alerts, without queries of ours.
Kind = Literal["lines", "bars", "stat", "pie", "timeline", "alerts"]
# They show one moment, so they ask for it: what no longer answers has no value then.
INSTANT: tuple[Kind, ...] = ("stat", "pie")

# Grafana's names of units.
SECONDS = "s"
BYTES = "bytes"
SHARE = "percentunit"
COUNT = "short"
RECORDS_PER_SECOND = "suffix: records/s"
PER_SECOND = "suffix:/s"
BYTES_PER_SECOND = "binBps"
CORES = "suffix: cores"
NONE = "none"

WIDTH = 24
# Of a row's panels; two such rows, the strip and the alerts fit a screen.
HEIGHT = 7
# Of a number on its own.
STRIP_HEIGHT = 4

# Inside a selector: the processes that the dashboard's variables choose.
CHOSEN = 'job=~"$job", instance=~"$instance"'
# After the selector of a counter: as long as Grafana needs for a rate.
RATE = "[$__rate_interval]"


def quiet(query: str, matchers: str, label: str) -> str:
    """``query``, or 0 with ``label="none"`` where it is empty although who exports it answers.

    ``matchers`` select the targets. Where none answers there is no value: 0 would look like health.
    """
    zero = f'label_replace(0 * max(up{{{matchers}}} == 1), "{label}", "none", "", "")'
    return f"({query})\nor on () {zero}"


def rates(counter: str, matchers: str, *by: str, but: str = "") -> str:
    """How fast what ever happened does so; 0 where nothing did, as of :func:`quiet`.

    Counters begin at 0 for all that can happen. A legend of it all would hide what does.
    ``but``: a further matcher, of a label that targets do not have.
    """
    of = f"{counter}{{{matchers}{', ' if but else ''}{but}}}"
    labels = ", ".join(by)
    return quiet(
        f"sum by ({labels}) (rate({of}{RATE}))\n"
        f"and sum by ({labels}) (last_over_time({of}[$__range] @ end())) > 0",
        matchers,
        by[-1],
    )


def counted(counter: str, matchers: str, *by: str) -> str:
    """How often something that should never happen did so in the chosen time."""
    happened = f"sum by ({', '.join(by)}) (increase({counter}{{{matchers}}}[$__range])) > 0"
    return quiet(happened, matchers, by[-1])


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query; ``legend`` names its series, ``{{label}}`` stands for a label's value.

    ``neutral``: its value is neither good nor bad, whatever the panel's limit.
    """

    expr: str
    legend: str
    neutral: bool = False


@dataclass(frozen=True, slots=True)
class PanelSpec:
    """One panel.

    ``limit_of`` names the alert whose limit is drawn: one that compares the very same value.
    ``limit`` is one that no alert compares with just so. ``values`` gives numbers a text and a
    colour.
    """

    title: str
    kind: Kind
    help: str
    queries: tuple[Query, ...]
    unit: str
    width: int = 8
    height: int = HEIGHT
    limit_of: str | None = None
    limit: Limit | None = None
    values: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    stacked: bool = False
    minimum: float | None = 0


@dataclass(frozen=True, slots=True)
class RowSpec:
    """Panels under a common heading, which are shown when it is clicked if ``collapsed``."""

    title: str
    panels: tuple[PanelSpec, ...]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class DashboardSpec:
    """One dashboard. Rows without a title are panels without a heading above them.

    ``jobs`` are those that the variable ``job`` offers; ``instance`` offers theirs.
    """

    uid: str
    title: str
    help: str
    rows: tuple[RowSpec, ...]
    jobs: tuple[str, ...]

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
