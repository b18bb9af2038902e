"""From tables of panels to Grafana's JSON, by grafana-foundation-sdk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from monitoring.dashboards.panels import PROMETHEUS, AnyPanel, panel
from monitoring.dashboards.sdk import JSONEncoder, TextMode, build, dashboard, text
from monitoring.dashboards.spec import WIDTH, DashboardSpec, PanelSpec, RowSpec
from monitoring.model import Alert, PanelRef
from monitoring.render.panel_names import (
    PIPELINE_DASHBOARD,
    PROCESS_DASHBOARD,
    RUNBOOK_DASHBOARD,
)
from monitoring.render.runbook import Section, in_grafana, panel_rows

TAG = "etl"
_TITLES = {
    PROCESS_DASHBOARD: "ETL process monitoring",
    PIPELINE_DASHBOARD: "ETL pipeline",
    RUNBOOK_DASHBOARD: "ETL runbook",
}
# Grafana 11's. A newer Grafana lifts an older schema; an older one need not take a newer.
_SCHEMA_VERSION = 39
FIRING = 'ALERTS{alertstate="firing", alertname=~"Etl.+", alertname!="EtlWatchdog"}'


def dashboard_json(
    spec: DashboardSpec, alerts: Sequence[Alert], runbook_ids: Mapping[str, int]
) -> str:
    """The JSON file of one dashboard; ``runbook_ids`` is alert name → panel of the runbook."""
    board = _board(spec.uid, spec.help)
    jobs = "|".join(spec.jobs)
    board.with_variable(
        _variable("job", f'label_values(etl_health_status{{job=~"{jobs}"}}, job)', jobs)
    )
    board.with_variable(
        _variable("instance", 'label_values(etl_health_status{job=~"$job"}, instance)', ".+")
    )
    board.annotation(_alerts_as_annotations())
    ids = spec.panel_ids()
    y = 0
    for row in spec.rows:
        drawn = []
        places, below = _places(row, y)
        for one, place in zip(row.panels, places, strict=True):
            ref = PanelRef(spec.uid, one.title)
            shown = [alert for alert in alerts if alert.panel == ref]
            drawn.append(_panel(one, ids[ref], alerts, shown, runbook_ids).grid_pos(place))
        if row.title:
            heading = build.Row(row.title).id(ids[PanelRef(spec.uid, row.panels[0].title)] - 1)
            heading.grid_pos(dashboard.GridPos(h=1, w=WIDTH, x=0, y=y))
            for each in drawn if row.collapsed else ():
                heading.with_panel(each)
            board.with_row(heading)
        if not row.collapsed:
            for each in drawn:
                board.with_panel(each)
        # What is hidden takes no place.
        y = y + 1 if row.collapsed else below
    return _json(board)


def runbook_json(
    sections: Sequence[Section],
    runbook_ids: Mapping[str, int],
    panels: Mapping[str, tuple[PanelRef, int]],
) -> str:
    """The runbook as a dashboard, so that whoever opens one has the other at hand.

    ``panels`` are alert name → the panel that shows what it speaks of, and its id.
    """
    board = _board(RUNBOOK_DASHBOARD, "docs/runbook.md, a panel for each alert.")
    for section in sections:
        ref, panel_id = panels[section.alert]
        content = (
            f"[Show the panel](/d/{ref.dashboard}?viewPanel={panel_id}) · "
            f"{in_grafana(section, runbook_ids)}"
        )
        board.with_panel(
            text.Panel()
            .id(runbook_ids[section.alert])
            .title(section.alert)
            .mode(TextMode.MARKDOWN)
            .content(content)
            .span(WIDTH)
            .height(panel_rows(content))
        )
    return _json(board)


def _board(uid: str, help_: str) -> build.Dashboard:
    board = (
        build.Dashboard(_TITLES[uid])
        .uid(uid)
        .description(help_)
        .tags([TAG])
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .readonly()
    )
    for other, title in _TITLES.items():
        if other != uid:
            board.link(
                build.DashboardLink(title)
                .type(dashboard.DashboardLinkType.LINK)
                .url(f"/d/{other}")
                .icon("dashboard")
                .keep_time(True)
            )
    return board


def _variable(name: str, query: str, every: str) -> build.QueryVariable:
    """A variable whose "All" is ``every``, a pattern: no more than ``query`` finds."""
    return (
        build.QueryVariable(name)
        .label(name)
        .datasource(PROMETHEUS)
        .query({"query": query, "refId": name, "qryType": 1})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(every)
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _places(row: RowSpec, y: int) -> tuple[list[dashboard.GridPos], int]:
    """Where each panel of a row goes, from the left and then below; and where the next row may."""
    places = []
    x, y, below = 0, y + bool(row.title), y + bool(row.title)
    for one in row.panels:
        if x + one.width > WIDTH:
            x, y = 0, below
        places.append(dashboard.GridPos(h=one.height, w=one.width, x=x, y=y))
        x, below = x + one.width, max(below, y + one.height)
    return places, below


def _alerts_as_annotations() -> build.AnnotationQuery:
    return (
        build.AnnotationQuery()
        .name("Alerts")
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color("red")
        .expr(FIRING)
        .step("60s")
        .title_format("{{alertname}}")
        .text_format("{{job}} {{instance}} {{query}} {{tier}}")
        .tag_keys("severity")
    )


def _panel(
    spec: PanelSpec,
    number: int,
    alerts: Sequence[Alert],
    shown: Sequence[Alert],
    runbook_ids: Mapping[str, int],
) -> AnyPanel:
    by_name = {alert.name: alert for alert in alerts}
    drawn = panel(spec, by_name[spec.limit_of] if spec.limit_of else None)
    drawn.id(number).title(spec.title).description(spec.help)
    if shown:
        drawn.links(
            [
                build.DashboardLink(f"Runbook: {alert.name}")
                .type(dashboard.DashboardLinkType.LINK)
                .url(f"/d/{RUNBOOK_DASHBOARD}?viewPanel={runbook_ids[alert.name]}")
                for alert in shown
            ]
        )
    return drawn


def _json(board: build.Dashboard) -> str:
    """The file's text, made fit for older Grafanas than the newest that the SDK knows."""
    document = json.loads(json.dumps(board.build(), cls=JSONEncoder))
    document["schemaVersion"] = _SCHEMA_VERSION
    links = [*document["links"], *document["annotations"].get("list", ())]
    for one in flat(document):
        links += one.get("links", ())
    for link in links:
        # Hides a link in a menu that newer Grafanas have.
        link.pop("placement", None)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def flat(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every panel of a dashboard's JSON, headings and what these hide among them."""
    return [one for top in board["panels"] for one in (top, *(top.get("panels") or ()))]
