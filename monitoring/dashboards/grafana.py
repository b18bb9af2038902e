"""From tables of panels to Grafana's JSON, by grafana-foundation-sdk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from monitoring.dashboards.sdk import (
    JSONEncoder,
    TextMode,
    build,
    common,
    common_builders,
    dashboard,
    piechart,
    prometheus,
    stat,
    statetimeline,
    text,
    timeseries,
)
from monitoring.dashboards.spec import WIDTH, DashboardSpec, Kind, PanelSpec, Query
from monitoring.model import Alert, Limit, PanelRef
from monitoring.render.panel_names import (
    DATASOURCE,
    PIPELINE_DASHBOARD,
    PROCESS_DASHBOARD,
    RUNBOOK_DASHBOARD,
)
from monitoring.render.runbook import Section, in_grafana

TAG = "etl"
_PROMETHEUS = common.DataSourceRef(type_val="prometheus", uid=DATASOURCE)
_TITLES = {
    PROCESS_DASHBOARD: "ETL process monitoring",
    PIPELINE_DASHBOARD: "ETL pipeline",
    RUNBOOK_DASHBOARD: "ETL runbook",
}
_AnyPanel = timeseries.Panel | stat.Panel | piechart.Panel | statetimeline.Panel
_COLOURS = {"critical": "red", "warning": "orange", "none": "blue"}
# Grafana 11's. A newer Grafana lifts an older schema; an older one need not take a newer.
_SCHEMA_VERSION = 39
_RUNBOOK_CHARS_A_ROW = 150


def dashboard_json(
    spec: DashboardSpec, alerts: Sequence[Alert], runbook_ids: Mapping[str, int]
) -> str:
    """The JSON file of one dashboard; ``runbook_ids`` is alert name → panel of the runbook."""
    board = _board(spec.uid, spec.help)
    for name, query in spec.variables.items():
        board.with_variable(_variable(name, query))
    ids = spec.panel_ids()
    number = 0
    for row in spec.rows:
        if row.title:
            number += 1
            board.with_row(build.Row(row.title).id(number))
        for panel in row.panels:
            ref = PanelRef(spec.uid, panel.title)
            number = ids[ref]
            shown = [alert for alert in alerts if alert.panel == ref]
            board.with_panel(_panel(panel, number, alerts, shown, runbook_ids))
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
        rows = sum(2 + len(line) // _RUNBOOK_CHARS_A_ROW for line in content.splitlines() if line)
        board.with_panel(
            text.Panel()
            .id(runbook_ids[section.alert])
            .title(section.alert)
            .mode(TextMode.MARKDOWN)
            .content(content)
            .span(WIDTH)
            .height(3 + rows)
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


def _variable(name: str, query: str) -> build.QueryVariable:
    return (
        build.QueryVariable(name)
        .label(name)
        .datasource(_PROMETHEUS)
        .query({"query": query, "refId": name, "qryType": 1})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _panel(
    spec: PanelSpec,
    number: int,
    alerts: Sequence[Alert],
    shown: Sequence[Alert],
    runbook_ids: Mapping[str, int],
) -> _AnyPanel:
    by_name = {alert.name: alert for alert in alerts}
    limit = by_name[spec.limit_of] if spec.limit_of else None
    panel = _PANELS[spec.kind](spec, limit)
    panel.id(number).title(spec.title).description(spec.help)
    panel.datasource(_PROMETHEUS).span(spec.width).height(spec.height).unit(spec.unit)
    if spec.minimum is not None:
        panel.min(spec.minimum)
    if spec.values:
        panel.mappings([_mapping(spec)])
    for index, query in enumerate(spec.queries):
        panel.with_target(_target(chr(ord("A") + index), query))
    if shown:
        panel.links(
            [
                build.DashboardLink(f"Runbook: {alert.name}")
                .type(dashboard.DashboardLinkType.LINK)
                .url(f"/d/{RUNBOOK_DASHBOARD}?viewPanel={runbook_ids[alert.name]}")
                for alert in shown
            ]
        )
    return panel


def _lines(spec: PanelSpec, limit: Alert | None) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .fill_opacity(30 if spec.stacked else 5)
        .show_points(common.VisibilityMode.NEVER)
        .legend(_legend(["lastNotNull", "max"]))
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
        .thresholds(_thresholds(limit))
    )
    if spec.stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if limit is not None:
        panel.thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(
                common.GraphThresholdsStyleMode.DASHED
            )
        )
    return panel


def _bars(spec: PanelSpec, limit: Alert | None) -> timeseries.Panel:
    return (
        _lines(spec, limit)
        .draw_style(common.GraphDrawStyle.BARS)
        .fill_opacity(60)
        # A bar for each five minutes, as its queries count.
        .interval("5m")
    )


def _stat(spec: PanelSpec, limit: Alert | None) -> stat.Panel:
    return (
        stat.Panel()
        .thresholds(_thresholds(limit))
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("none")
    )


def _pie(spec: PanelSpec, limit: Alert | None) -> piechart.Panel:
    return piechart.Panel().reduce_options(
        common_builders.ReduceDataOptions().calcs(["lastNotNull"])
    )


def _timeline(spec: PanelSpec, limit: Alert | None) -> statetimeline.Panel:
    return (
        statetimeline.Panel()
        .thresholds(_thresholds(limit))
        .show_value(common.VisibilityMode.NEVER)
        .merge_values(True)
        .no_value("none")
    )


_PANELS: dict[Kind, Callable[[PanelSpec, Alert | None], _AnyPanel]] = {
    "lines": _lines,
    "bars": _bars,
    "stat": _stat,
    "pie": _pie,
    "timeline": _timeline,
}


def _legend(calcs: list[str]) -> common_builders.VizLegendOptions:
    return (
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(calcs)
    )


def _thresholds(alert: Alert | None) -> build.ThresholdsConfig:
    """Green where the alert is quiet, its severity's colour where it would fire."""
    return (
        build.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps(steps(alert.limit, _COLOURS[alert.severity]) if alert else steps(None, ""))
    )


def steps(limit: Limit | None, colour: str) -> list[dashboard.Threshold]:
    """Colours from the lowest value up; a step's own value belongs to it.

    An alert does not fire at its very limit, which for a count is a whole number: the colour
    begins just above it.
    """
    if limit is None:
        return [dashboard.Threshold(None, "green")]
    if limit.operator == "<":
        return [dashboard.Threshold(None, colour), dashboard.Threshold(limit.value, "green")]
    above = limit.value or 1e-9
    return [dashboard.Threshold(None, "green"), dashboard.Threshold(above, colour)]


def _mapping(spec: PanelSpec) -> dashboard.ValueMap:
    return dashboard.ValueMap(
        options={
            str(value): dashboard.ValueMappingResult(text=shown, color=colour, index=index)
            for index, (value, (shown, colour)) in enumerate(spec.values.items())
        }
    )


def _target(ref: str, query: Query) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .ref_id(ref)
        .datasource(_PROMETHEUS)
        .expr(query.expr)
        .legend_format(query.legend)
    )
    return target.instant() if query.instant else target.range()


def _json(board: build.Dashboard) -> str:
    """The file's text, made fit for older Grafanas than the newest that the SDK knows."""
    document = json.loads(json.dumps(board.build(), cls=JSONEncoder))
    document["schemaVersion"] = _SCHEMA_VERSION
    document["annotations"] = {"list": []}
    links = [*document["links"]]
    for panel in document["panels"]:
        links += panel.get("links", ())
    for link in links:
        # Hides a link in a menu that newer Grafanas have.
        link.pop("placement", None)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
