"""One panel as Grafana draws it: its kind, colours, axes and legend."""

from __future__ import annotations

import re
from collections.abc import Callable

from monitoring.dashboards.sdk import (
    PieChartLegendValues,
    build,
    common,
    common_builders,
    dashboard,
    piechart,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from monitoring.dashboards.spec import (
    BYTES,
    CORES,
    INSTANT,
    SHARE,
    WIDTH,
    Kind,
    PanelSpec,
    Query,
)
from monitoring.model import Alert, Limit
from monitoring.render.panel_names import DATASOURCE

PROMETHEUS = common.DataSourceRef(type_val="prometheus", uid=DATASOURCE)
AnyPanel = build.Panel | timeseries.Panel | stat.Panel | piechart.Panel | statetimeline.Panel

# Of what has no value: nothing is known, so it is neither green nor red.
GREY = "#808080"
UNKNOWN = "unknown"
_NEUTRAL = "blue"
_COLOURS = {"critical": "red", "warning": "orange", "none": _NEUTRAL}
# How far an axis reaches at least, by unit; Grafana's own choice for zeros is 100, or 10,000 %.
_SOFT_MAX = {BYTES: 1 << 20, SHARE: 0.1, CORES: 0.1}
_BESIDE_A_LIMIT = 1.2
# At a width of 1,600, as Grafana draws them: a column of the grid, a letter of a legend, what
# surrounds a name in it, and a column of numbers.
_COLUMN_PX = 65.7
_LETTER_PX = 6.4
_AROUND_NAME_PX = 38
_NUMBERS_PX = 66
# Of a panel, for a legend at its right; Grafana would give it 60 %, and cuts off what is longer.
_LEGEND_SHARE = 0.45
# Columns of the narrowest panel that has room for one; the axis takes a part of it, too.
_LEGEND_BESIDE_FROM = WIDTH // 3
# Letters of a label's value, where it is long.
_VALUE_LETTERS = {"instance": 16, "query": 14, "error_type": 17, "response": 14, "reason": 20}
_OTHER_VALUE_LETTERS = 11


def panel(spec: PanelSpec, alert: Alert | None) -> AnyPanel:
    """The panel without its place; ``alert`` is the one whose limit it shows."""
    drawn = _KINDS[spec.kind](spec, alert.limit if alert else spec.limit, _colour(alert))
    if spec.kind == "alerts":
        return drawn
    drawn.datasource(PROMETHEUS).unit(spec.unit)
    if spec.minimum is not None:
        drawn.min(spec.minimum)
    if spec.values:
        drawn.mappings([_mapping(spec)])
    for index, query in enumerate(spec.queries):
        ref = chr(ord("A") + index)
        drawn.with_target(_target(ref, query, instant=spec.kind in INSTANT))
        if query.neutral:
            fixed = {"mode": "fixed", "fixedColor": _NEUTRAL}
            drawn.override_by_query(ref, [dashboard.DynamicConfigValue("color", fixed)])
    return drawn


def steps(limit: Limit | None, colour: str, *, base: str = GREY) -> list[dashboard.Threshold]:
    """Colours from the lowest value up; a step's own value belongs to it.

    The first is that of what has no value. Nothing that is judged lies below 0. An alert does not
    fire at its very limit, which for a count is a whole number: the colour begins just above it.
    """
    found = [dashboard.Threshold(None, base)]
    if limit is None:
        return [*found, dashboard.Threshold(0, _NEUTRAL)]
    if limit.operator == "<":
        return [*found, dashboard.Threshold(0, colour), dashboard.Threshold(limit.value, "green")]
    above = limit.value or 1e-9
    return [*found, dashboard.Threshold(0, "green"), dashboard.Threshold(above, colour)]


def _colour(alert: Alert | None) -> str:
    return _COLOURS[alert.severity if alert else "warning"]


def _lines(spec: PanelSpec, limit: Limit | None, colour: str) -> timeseries.Panel:
    least = _SOFT_MAX.get(spec.unit, 1)
    drawn = (
        timeseries.Panel()
        .fill_opacity(30 if spec.stacked else 5)
        .show_points(common.VisibilityMode.NEVER)
        .axis_soft_max(limit.value * _BESIDE_A_LIMIT if limit and limit.value else least)
        .legend(_legend(spec))
        .no_value(UNKNOWN)
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
        # Every step is a line here, so there is none but the limit.
        .thresholds(_thresholds([s for s in steps(limit, colour) if s.value != 0] if limit else []))
    )
    if spec.stacked:
        drawn.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if limit is not None:
        drawn.thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(
                common.GraphThresholdsStyleMode.DASHED
            )
        )
    return drawn


def _bars(spec: PanelSpec, limit: Limit | None, colour: str) -> timeseries.Panel:
    return (
        _lines(spec, limit, colour)
        .draw_style(common.GraphDrawStyle.BARS)
        .fill_opacity(60)
        # A bar for each five minutes, as its queries count.
        .interval("5m")
    )


def _stat(spec: PanelSpec, limit: Limit | None, colour: str) -> stat.Panel:
    several = len(spec.queries) > 1 or "{{" in spec.queries[0].legend
    return (
        stat.Panel()
        .thresholds(_thresholds(steps(limit, colour)))
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .text_mode(
            common.BigValueTextMode.VALUE_AND_NAME if several else common.BigValueTextMode.VALUE
        )
        .reduce_options(common_builders.ReduceDataOptions().calcs(["last"]))
        .no_value(UNKNOWN)
    )


def _pie(spec: PanelSpec, limit: Limit | None, colour: str) -> piechart.Panel:
    return (
        piechart.Panel()
        .reduce_options(common_builders.ReduceDataOptions().calcs(["last"]))
        .legend(
            piechart.PieChartLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.RIGHT)
            .show_legend(True)
            .values([PieChartLegendValues.VALUE, PieChartLegendValues.PERCENT])
        )
        .thresholds(_thresholds(steps(limit, colour)))
        .no_value(UNKNOWN)
    )


def _timeline(spec: PanelSpec, limit: Limit | None, colour: str) -> statetimeline.Panel:
    return (
        statetimeline.Panel()
        .thresholds(_thresholds(steps(limit, colour)))
        .show_value(common.VisibilityMode.NEVER)
        .merge_values(True)
        .no_value(UNKNOWN)
    )


def _alerts(spec: PanelSpec, limit: Limit | None, colour: str) -> build.Panel:
    return (
        build.Panel()
        .type("alertlist")
        .options(
            {
                "maxItems": 50,
                # By importance.
                "sortOrder": 3,
                "groupMode": "default",
                "viewMode": "list",
                "alertName": "",
                "alertInstanceLabelFilter": '{alertname=~"Etl.+", severity=~"critical|warning"}',
                "stateFilter": {
                    "firing": True,
                    "pending": True,
                    "error": True,
                    "noData": False,
                    "normal": False,
                },
            }
        )
    )


_KINDS: dict[Kind, Callable[[PanelSpec, Limit | None, str], AnyPanel]] = {
    "lines": _lines,
    "bars": _bars,
    "stat": _stat,
    "pie": _pie,
    "timeline": _timeline,
    "alerts": _alerts,
}


def _legend(spec: PanelSpec) -> common_builders.VizLegendOptions:
    """A table at the right where names and numbers fit there, which has room for all rows.

    Else names side by side below, without numbers: a narrow panel is left to what is drawn.
    ``last`` is empty for what has ended.
    """
    legend = common_builders.VizLegendOptions().show_legend(True)
    room_px = spec.width * _COLUMN_PX * _LEGEND_SHARE - _AROUND_NAME_PX
    names_px = _LETTER_PX * max(_letters(query.legend) for query in spec.queries)
    for numbers in (["last", "max"], ["last"]) if spec.width >= _LEGEND_BESIDE_FROM else ():
        if names_px + _NUMBERS_PX * len(numbers) <= room_px:
            return (
                legend.display_mode(common.LegendDisplayMode.TABLE)
                .placement(common.LegendPlacement.RIGHT)
                .calcs(numbers)
            )
    return (
        legend.display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .calcs([])
    )


def _letters(legend: str) -> int:
    """About how many letters a series' name has."""

    def value(label: re.Match[str]) -> str:
        return "x" * _VALUE_LETTERS.get(label[1], _OTHER_VALUE_LETTERS)

    return len(re.sub(r"{{(\w+)}}", value, legend))


def _thresholds(found: list[dashboard.Threshold]) -> build.ThresholdsConfig:
    return (
        build.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps(found or [dashboard.Threshold(None, GREY)])
    )


def _mapping(spec: PanelSpec) -> dashboard.ValueMap:
    return dashboard.ValueMap(
        options={
            str(value): dashboard.ValueMappingResult(text=shown, color=colour, index=index)
            for index, (value, (shown, colour)) in enumerate(spec.values.items())
        }
    )


def _target(ref: str, query: Query, *, instant: bool) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .ref_id(ref)
        .datasource(PROMETHEUS)
        .expr(query.expr)
        .legend_format(query.legend)
    )
    return target.instant() if instant else target.range()
