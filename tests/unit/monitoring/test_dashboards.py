"""The dashboards, as Grafana will read them: ids, links, data sources, units, thresholds."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from monitoring.catalogue import all_alerts
from monitoring.dashboards import DASHBOARDS
from monitoring.dashboards.grafana import steps
from monitoring.dashboards.sdk import dashboard as models
from monitoring.model import Limit, PanelRef
from monitoring.render.files import render
from monitoring.render.panel_names import DATASOURCE, RUNBOOK_DASHBOARD
from monitoring.render.runbook import Section, in_grafana, sections
from monitoring.thresholds import Thresholds

FILES = {
    json.loads(text)["uid"]: json.loads(text)
    for name, text in render().items()
    if name.endswith(".json")
}
SHOWN = {spec.uid: spec for spec in DASHBOARDS}
PANELS = [(uid, panel) for uid, board in FILES.items() for panel in board["panels"]]
ALERTS = all_alerts(Thresholds())
KNOWN_UNITS = {"none", "short", "s", "bytes", "percentunit", "binBps"}

each_board = pytest.mark.parametrize("uid", FILES)


def panels(uid: str) -> list[dict[str, Any]]:
    return [panel for panel in FILES[uid]["panels"] if panel["type"] != "row"]


def test_dashboards_have_the_uids_that_links_name() -> None:
    assert set(FILES) == {"etl-monitoring", "etl-pipeline", "etl-runbook"}


def test_process_dashboard_has_the_eight_panels() -> None:
    assert [panel["title"] for panel in panels("etl-monitoring")] == [
        "Processing rate",
        "Health status",
        "Time since last success",
        "Total failures",
        "Average processing time",
        "Cumulative counts",
        "Error types distribution",
        "Processing activity",
    ]


def test_pipeline_dashboard_shows_what_was_promised() -> None:
    titles = {panel["title"] for panel in panels("etl-pipeline")}
    assert titles >= {
        "Samples through the stages",
        "Backlog",
        "Lag of extraction and loading",
        "Freshness",
        "Dropped samples",
        "Dead letters",
        "Sink responses",
        "Circuit and pause",
        "Windows",
        "Ledger",
        "Workers",
        "Memory of the processes",
    }


@each_board
def test_ids_and_titles_of_panels_are_unique(uid: str) -> None:
    ids = Counter(panel["id"] for panel in FILES[uid]["panels"])
    titles = Counter(panel["title"] for panel in panels(uid))
    assert not [number for number, n in ids.items() if n > 1]
    assert not [title for title, n in titles.items() if n > 1]
    assert all(number > 0 for number in ids)


@pytest.mark.parametrize("uid", SHOWN)
def test_ids_are_those_that_alerts_are_given(uid: str) -> None:
    ids = {PanelRef(uid, panel["title"]): panel["id"] for panel in panels(uid)}
    assert ids == SHOWN[uid].panel_ids()


@each_board
def test_panels_lie_on_the_grid_and_not_on_each_other(uid: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in FILES[uid]["panels"]:
        at = panel["gridPos"]
        assert at["x"] >= 0 and at["x"] + at["w"] <= 24 and at["h"] > 0
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("uid", SHOWN)
def test_every_panel_and_variable_queries_the_provisioned_data_source(uid: str) -> None:
    source = {"type": "prometheus", "uid": DATASOURCE}
    for panel in panels(uid):
        assert panel["datasource"] == source
        for target in panel["targets"]:
            assert target["datasource"] == source
            assert target["instant"] is not target["range"]
        refs = [target["refId"] for target in panel["targets"]]
        assert refs == sorted(set(refs))
    for variable in FILES[uid]["templating"]["list"]:
        assert variable["datasource"] == source


@pytest.mark.parametrize("uid", SHOWN)
def test_variables_choose_job_and_instance_and_are_all_used(uid: str) -> None:
    variables = FILES[uid]["templating"]["list"]
    assert [variable["name"] for variable in variables] == ["job", "instance"]
    for variable in variables:
        assert variable["includeAll"] and variable["multi"] and variable["allValue"] == ".+"
        assert variable["query"]["query"].startswith("label_values(")
    text = json.dumps(FILES[uid]["panels"])
    assert {"$job", "$instance", "$__rate_interval", "$__range"} >= set(re.findall(r"\$\w+", text))
    assert "$job" in text and "$instance" in text


def test_rates_are_taken_over_grafanas_interval() -> None:
    """But for "Processing activity", which counts in five minutes as it says."""
    for uid, panel in PANELS:
        for target in panel.get("targets", ()):
            ranges = set(re.findall(r"\[([^\]]+)\]", target["expr"]))
            if panel["title"] == "Processing activity":
                assert ranges == {"5m"} and panel["interval"] == "5m"
            else:
                assert ranges <= {"$__rate_interval", "$__range"}, (uid, panel["title"])


@pytest.mark.parametrize("uid", SHOWN)
def test_every_panel_has_a_unit_a_legend_and_a_description(uid: str) -> None:
    for panel in panels(uid):
        unit = panel["fieldConfig"]["defaults"]["unit"]
        assert unit in KNOWN_UNITS or unit.startswith("suffix:"), panel["title"]
        assert panel["description"].endswith(".")
        assert all(target["legendFormat"] for target in panel["targets"])


def test_thresholds_are_the_alerts_own() -> None:
    limits = {alert.name: alert for alert in ALERTS}
    drawn = 0
    for spec in DASHBOARDS:
        for row in spec.rows:
            for panel in row.panels:
                if panel.limit_of is None:
                    continue
                alert = limits[panel.limit_of]
                assert alert.panel == PanelRef(spec.uid, panel.title)
                rendered = next(p for p in panels(spec.uid) if p["title"] == panel.title)
                values = [
                    step["value"]
                    for step in rendered["fieldConfig"]["defaults"]["thresholds"]["steps"]
                ]
                assert values == [None, alert.limit.value or 1e-9]
                drawn += 1
    assert drawn >= 10


def test_colours_begin_where_an_alert_would_fire() -> None:
    def plain(found: list[models.Threshold]) -> list[tuple[float | None, str]]:
        return [(step.value, step.color) for step in found]

    assert plain(steps(Limit(">", 5), "red")) == [(None, "green"), (5, "red")]
    assert plain(steps(Limit("<", 5), "red")) == [(None, "red"), (5, "green")]
    assert plain(steps(Limit(">", 0), "red")) == [(None, "green"), (1e-9, "red")]
    assert plain(steps(None, "red")) == [(None, "green")]


def test_every_alert_has_its_panel() -> None:
    known = {ref for spec in DASHBOARDS for ref in spec.panel_ids()}
    for alert in ALERTS:
        assert alert.panel in known, alert.name


# --- links ------------------------------------------------------------------------------------


def links(board: dict[str, Any]) -> list[str]:
    found = [link["url"] for link in board["links"]]
    for panel in board["panels"]:
        found += [link["url"] for link in panel.get("links", ())]
        found += re.findall(r"\]\((/[^)]+)\)", panel.get("options", {}).get("content", ""))
    return found


@each_board
def test_every_link_leads_to_a_dashboard_and_a_panel_that_exist(uid: str) -> None:
    for url in links(FILES[uid]):
        match = re.fullmatch(r"/d/([\w-]+)(\?viewPanel=(\d+))?", url)
        assert match, url
        assert match[1] in FILES
        if match[3]:
            assert int(match[3]) in {panel["id"] for panel in FILES[match[1]]["panels"]}


@each_board
def test_every_dashboard_links_to_the_others(uid: str) -> None:
    assert {link["url"] for link in FILES[uid]["links"]} == {
        f"/d/{other}" for other in FILES if other != uid
    }


def test_panels_link_to_their_alerts_in_the_runbook_and_back() -> None:
    runbook = {panel["title"]: panel for panel in FILES[RUNBOOK_DASHBOARD]["panels"]}
    for alert in ALERTS:
        panel = next(p for p in panels(alert.panel.dashboard) if p["title"] == alert.panel.title)
        there = f"/d/{RUNBOOK_DASHBOARD}?viewPanel={runbook[alert.name]['id']}"
        assert there in [link["url"] for link in panel["links"]]
        back = f"(/d/{alert.panel.dashboard}?viewPanel={panel['id']})"
        assert back in runbook[alert.name]["options"]["content"]


def test_runbook_shows_every_section_whole() -> None:
    shown = FILES[RUNBOOK_DASHBOARD]["panels"]
    assert [panel["title"] for panel in shown] == [section.alert for section in sections()]
    for panel, section in zip(shown, sections(), strict=True):
        assert not re.search(r"\]\((?!/d/)", panel["options"]["content"])
        assert section.text.splitlines()[-1].split("](")[0] in panel["options"]["content"]


def test_links_of_the_page_become_links_inside_grafana() -> None:
    section = Section("EtlA", "See [EtlB](#etlb), [x.md](x.md#y), [the x](x.md).")
    assert (
        in_grafana(section, {"EtlA": 1, "EtlB": 2})
        == "See [EtlB](/d/etl-runbook?viewPanel=2), docs/x.md, the x (docs/x.md)."
    )
