"""The dashboards, as Grafana will read them: ids, links, data sources, units, thresholds."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from monitoring.alerts.unreachable import UNREACHABLE
from monitoring.catalogue import all_alerts
from monitoring.dashboards import DASHBOARDS
from monitoring.dashboards.grafana import flat
from monitoring.dashboards.panels import GREY, UNKNOWN, steps
from monitoring.dashboards.sdk import dashboard as models
from monitoring.dashboards.spec import WIDTH
from monitoring.model import Limit, PanelRef
from monitoring.render.files import render
from monitoring.render.panel_names import DATASOURCE, RUNBOOK_DASHBOARD
from monitoring.render.runbook import Section, in_grafana, sections, text_height_px
from monitoring.thresholds import Thresholds

FILES = {
    json.loads(text)["uid"]: json.loads(text)
    for name, text in render().items()
    if name.endswith(".json")
}
SHOWN = {spec.uid: spec for spec in DASHBOARDS}
PANELS = [(uid, panel) for uid, board in FILES.items() for panel in flat(board)]
ALERTS = (*all_alerts(Thresholds()), UNREACHABLE)
KNOWN_UNITS = {"none", "short", "s", "bytes", "percentunit", "binBps"}

each_board = pytest.mark.parametrize("uid", FILES)


def panels(uid: str) -> list[dict[str, Any]]:
    return [panel for panel in flat(FILES[uid]) if panel["type"] != "row"]


def asking(uid: str) -> list[dict[str, Any]]:
    """Panels with queries of ours."""
    return [panel for panel in panels(uid) if panel["type"] != "alertlist"]


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
    ids = Counter(panel["id"] for panel in flat(FILES[uid]))
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
    board = FILES[uid]["panels"]
    for shown in (board, *(row["panels"] for row in board if row.get("collapsed"))):
        taken: set[tuple[int, int]] = set()
        for panel in shown:
            at = panel["gridPos"]
            assert at["x"] >= 0 and at["x"] + at["w"] <= WIDTH and at["h"] > 0
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert not cells & taken, panel["title"]
            taken |= cells


def test_first_view_fits_a_screen_of_1600_by_1000() -> None:
    """A line of the grid takes 38 pixels, and what stands above it 130."""
    lines = (1000 - 130) // 38
    ends = {p["title"]: p["gridPos"]["y"] + p["gridPos"]["h"] for _, p in PANELS}
    assert max(ends[panel["title"]] for panel in panels("etl-monitoring")) <= lines
    assert ends["Freshness budget"] <= lines
    strip = [p for p in panels("etl-pipeline") if p["gridPos"]["y"] == 0]
    assert len(strip) >= 9 and {p["type"] for p in strip} == {"stat"}
    assert sum(p["gridPos"]["w"] for p in strip) == WIDTH


@pytest.mark.parametrize("uid", SHOWN)
def test_headings_of_panels_are_not_cut_off_on_a_screen_of_1600(uid: str) -> None:
    """A column has 66 pixels with its margin; a heading leaves 38 of its panel, or 54 with alerts.

    Of the letters that stand in the titles, ten have at most 64 pixels in Grafana's font.
    """
    for panel in panels(uid):
        room = panel["gridPos"]["w"] * 65.7 - 8 - (54 if panel.get("links") else 38)
        assert len(panel["title"]) * 6.4 <= room, panel["title"]


def test_numbers_of_the_strip_stand_alone_or_have_room_for_their_names() -> None:
    """Names of several numbers side by side take half of the width that each of them has."""
    for panel in panels("etl-pipeline"):
        if panel["type"] == "stat" and panel["gridPos"]["y"] == 0 and panel["gridPos"]["w"] < 5:
            assert len(panel["targets"]) == 1, panel["title"]
            assert panel["options"]["textMode"] == "value", panel["title"]


def test_stages_come_in_the_order_of_flow_and_details_are_collapsed() -> None:
    rows = [p for p in FILES["etl-pipeline"]["panels"] if p["type"] == "row"]
    assert [row["title"] for row in rows[:4]] == ["Extractor", "Transformer", "Loader", "Sink"]
    assert [row["collapsed"] for row in rows] == [False] * 4 + [True] * (len(rows) - 4)


# --- nothing looks well that does not answer ----------------------------------------------------


@pytest.mark.parametrize("uid", SHOWN)
def test_numbers_ask_for_this_moment_and_are_grey_without_a_value(uid: str) -> None:
    """A range's last value would be shown for as long as the range, whatever has died since."""
    for panel in asking(uid):
        if panel["type"] not in ("stat", "gauge", "bargauge", "table", "piechart"):
            continue
        assert all(target["instant"] for target in panel["targets"]), panel["title"]
        assert panel["options"]["reduceOptions"]["calcs"] == ["last"]
        colour = panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]
        assert colour == {"value": None, "color": GREY}, panel["title"]


@each_board
def test_no_panel_reduces_to_the_last_value_that_was_not_missing(uid: str) -> None:
    assert "lastNotNull" not in json.dumps(FILES[uid])


@pytest.mark.parametrize("uid", SHOWN)
def test_what_is_not_known_is_called_so(uid: str) -> None:
    for panel in asking(uid):
        assert panel["fieldConfig"]["defaults"]["noValue"] == UNKNOWN, panel["title"]


@pytest.mark.parametrize("uid", SHOWN)
def test_a_zero_that_a_query_makes_up_stands_for_somebody_who_answers(uid: str) -> None:
    """But for the list of what fires: that Prometheus answers is all that it needs."""
    for panel in asking(uid):
        if panel["title"] != "Firing alerts":
            assert "vector(" not in json.dumps(panel["targets"]), panel["title"]


def test_pie_says_what_its_pieces_are() -> None:
    (pie,) = (panel for panel in panels("etl-monitoring") if panel["type"] == "piechart")
    assert pie["options"]["legend"]["values"] == ["value", "percent"]
    assert pie["options"]["legend"]["showLegend"] is True


@pytest.mark.parametrize("uid", SHOWN)
def test_alerts_are_drawn_into_every_panel(uid: str) -> None:
    (annotation,) = FILES[uid]["annotations"]["list"]
    assert annotation["enable"] and annotation["expr"].startswith("ALERTS{")
    assert annotation["titleFormat"] == "{{alertname}}"


def test_alerts_are_listed() -> None:
    """All but the one that always fires; the filter as Grafana's list of alerts takes it apart."""
    (listed,) = (panel for panel in panels("etl-pipeline") if panel["type"] == "alertlist")
    assert listed["options"]["stateFilter"]["firing"] is True
    matcher = r'\b([\w.-]+)(=~|!=|!~|=(?="?\w))"?([^"\n,]*)"?'
    found = re.findall(matcher, listed["options"]["alertInstanceLabelFilter"])
    assert [(name, operator) for name, operator, _ in found] == [
        ("alertname", "=~"),
        ("severity", "=~"),
    ]
    name, severity = (re.compile(value) for _, _, value in found)
    shown = [one for one in ALERTS if name.search(one.name) and severity.search(one.severity)]
    assert {alert.name for alert in ALERTS} - {alert.name for alert in shown} == {"EtlWatchdog"}


@pytest.mark.parametrize("uid", SHOWN)
def test_every_panel_and_variable_queries_the_provisioned_data_source(uid: str) -> None:
    source = {"type": "prometheus", "uid": DATASOURCE}
    for panel in asking(uid):
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
        assert variable["includeAll"] and variable["multi"]
        assert variable["query"]["query"].startswith("label_values(")
    # "All" stands in a query as it is: it must not select more than the list offers.
    jobs, instances = variables
    assert f'job=~"{jobs["allValue"]}"' in jobs["query"]["query"]
    assert "test-app" not in jobs["allValue"]
    assert 'job=~"$job"' in instances["query"]["query"] and instances["allValue"] == ".+"
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
            elif not target["instant"]:
                assert ranges <= {"$__rate_interval", "$__range"}, (uid, panel["title"])


@pytest.mark.parametrize("uid", SHOWN)
def test_every_panel_has_a_unit_a_legend_and_a_description(uid: str) -> None:
    for panel in asking(uid):
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
                zero = [] if rendered["type"] == "timeseries" else [0]
                assert values == [None, *zero, alert.limit.value or 1e-9]
                drawn += 1
    assert drawn >= 10


def test_colours_begin_where_an_alert_would_fire() -> None:
    def plain(found: list[models.Threshold]) -> list[tuple[float | None, str]]:
        return [(step.value, step.color) for step in found]

    unknown = (None, GREY)
    assert plain(steps(Limit(">", 5), "red")) == [unknown, (0, "green"), (5, "red")]
    assert plain(steps(Limit("<", 5), "red")) == [unknown, (0, "red"), (5, "green")]
    assert plain(steps(Limit(">", 0), "red")) == [unknown, (0, "green"), (1e-9, "red")]
    assert plain(steps(None, "red")) == [unknown, (0, "blue")]


def test_every_alert_has_its_panel() -> None:
    known = {ref for spec in DASHBOARDS for ref in spec.panel_ids()}
    for alert in ALERTS:
        assert alert.panel in known, alert.name


# --- links ------------------------------------------------------------------------------------


def links(board: dict[str, Any]) -> list[str]:
    found = [link["url"] for link in board["links"]]
    for panel in flat(board):
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
            assert int(match[3]) in {panel["id"] for panel in flat(FILES[match[1]])}


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


def test_panels_of_the_runbook_are_as_high_as_their_text() -> None:
    """A row of the grid is 38 pixels, 8 of them between panels; a line of text is 22."""
    for panel in FILES[RUNBOOK_DASHBOARD]["panels"]:
        height = panel["gridPos"]["h"] * 38 - 8
        needed = text_height_px(panel["options"]["content"])
        assert needed <= height < needed + 38, panel["title"]


def test_height_of_a_text_is_that_of_its_lines_as_they_are_shown() -> None:
    one = text_height_px("Some words.")
    assert text_height_px("Some\nwords.") == one
    assert text_height_px(f"[Some words.](/d/{'x' * 400})") == one
    assert text_height_px("**Some** `words.`") == one
    assert text_height_px("word " * 40) == one + 22
    assert text_height_px("Some words.\n\nSome words.") > one + 22


def test_links_of_the_page_become_links_inside_grafana() -> None:
    section = Section("EtlA", "See [EtlB](#etlb), [x.md](x.md#y), [the x](x.md).")
    assert (
        in_grafana(section, {"EtlA": 1, "EtlB": 2})
        == "See [EtlB](/d/etl-runbook?viewPanel=2), docs/x.md, the x (docs/x.md)."
    )
