"""How lines are drawn: axes, names in legends, what shares a panel."""

from __future__ import annotations

import re

import pytest

from common.runtime.metrics_table import METRICS
from tests.support.promql_names import selectors
from tests.unit.monitoring.test_dashboards import SHOWN, asking

SPECS = {spec.name: spec for spec in METRICS}
# Long ones, as they are.
LABEL_VALUES = {
    "instance": "192.168.10.21:8080",
    "query": "prometheus_own",
    "tier": "warm",
    "error_type": "SourceUnavailable",
    "stage": "transformer",
    "job": "transformer",
    "reason": "timestamp_in_future",
}


@pytest.mark.parametrize("uid", SHOWN)
def test_lines_have_an_axis_that_suits_zeros_and_a_legend_with_room(uid: str) -> None:
    for panel in asking(uid):
        if panel["type"] != "timeseries":
            continue
        assert panel["fieldConfig"]["defaults"]["custom"]["axisSoftMax"] > 0
        wide = panel["gridPos"]["w"] >= 8
        # A longer one is cut off at the left of a narrow panel's axis.
        assert wide or len(panel["fieldConfig"]["defaults"]["unit"]) <= len("suffix:/s")


@pytest.mark.parametrize("uid", SHOWN)
def test_names_in_a_legend_are_whole_and_leave_the_panel_to_its_lines(uid: str) -> None:
    """At a width of 1,600; Grafana gives a legend at the right up to 60 %, and cuts it off there.

    A letter has at most 6.4 pixels, a column of numbers 66, and what surrounds a name 38.
    """
    for panel in asking(uid):
        if panel["type"] != "timeseries":
            continue
        legend = panel["options"]["legend"]
        if legend["displayMode"] == "list":
            assert (legend["placement"], legend["calcs"]) == ("bottom", []), panel["title"]
            continue
        assert (legend["displayMode"], legend["placement"]) == ("table", "right")
        assert panel["gridPos"]["w"] >= 8, panel["title"]
        names = [
            re.sub(r"{{(\w+)}}", lambda label: LABEL_VALUES.get(label[1], "x" * 11), shown)
            for shown in (target["legendFormat"] for target in panel["targets"])
        ]
        needed = max(map(len, names)) * 6.4 + 66 * len(legend["calcs"]) + 38
        assert legend["calcs"][0] == "last"
        assert needed <= panel["gridPos"]["w"] * 65.7 / 2, (panel["title"], names)


@pytest.mark.parametrize("uid", SHOWN)
def test_lines_of_a_panel_are_of_one_dimension(uid: str) -> None:
    """Cores, rates, what is counted in a time, levels: they need axes of their own."""
    for panel in asking(uid):
        if panel["type"] not in ("timeseries", "piechart"):
            continue
        dimensions = {dimension(target["expr"]) for target in panel["targets"]}
        assert len(dimensions) == 1, (panel["title"], dimensions)
        flags = {
            selector.metric
            for target in panel["targets"]
            for selector in selectors(fill(target["expr"]))
            if SPECS.get(selector.metric) and SPECS[selector.metric].help.startswith("1 ")
        }
        assert not flags or len(panel["targets"]) == 1, (panel["title"], flags)


def dimension(expr: str) -> str:
    """What a query's value is a number of, as far as its panel's axis goes."""
    for sign, found in (
        ("histogram_quantile(", "seconds"),
        ("cpu_seconds_total", "cores"),
        ("rate(", "a second"),
        ("increase(", "in a time"),
        ("_seconds", "seconds"),
        ("_bytes", "bytes"),
    ):
        if sign in expr:
            return found
    return "a number"


def fill(expr: str) -> str:
    """Without the variables of Grafana that stand for a time."""
    return re.sub(r"\$__\w+", "5m", expr)
