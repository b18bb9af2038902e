"""What is provisioned is what Grafana has: data source, dashboards, rules, policies, log."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.durations import parse_duration_ms
from monitoring.render.files import render
from monitoring.render.panel_names import ALERT_FOLDER, DASHBOARD_FOLDER, DATASOURCE
from tests.integration.grafana.filling import has_value, panels_of
from tests.integration.grafana.server import LOG, Grafana

ALERTING = [
    yaml.safe_load(text)
    for name, text in render().items()
    if name.startswith("grafana/provisioning/alerting/")
]
RULES: dict[str, dict[str, Any]] = {
    rule["uid"]: rule
    for document in ALERTING
    for group in document.get("groups", ())
    for rule in group["rules"]
}
BOARDS = [json.loads(text) for name, text in render().items() if name.endswith(".json")]
# What a template leaves where it found nothing.
HOLES = re.compile(r"<no value>|<nil>|{{|}}|\bNaN\b|error expanding")
# Until the policies are read, a minute after the very first start, Grafana's own contact point is
# sent to; and this suite's own copies of rules are deleted while they are evaluated.
NOT_OURS = re.compile(r"grafana-default-email|rule deleted")
PROBE = {"refId": "A", "datasource": {"uid": DATASOURCE}, "expr": "vector(1)", "instant": True}
(RECEIVERS,) = [document for document in ALERTING if "policies" in document]


def test_it_is_up(grafana: Grafana) -> None:
    assert grafana.get("/api/health")["database"] == "ok"


def test_the_data_source_is_there_and_reaches_prometheus(grafana: Grafana) -> None:
    source = grafana.get(f"/api/datasources/uid/{DATASOURCE}")
    assert (source["type"], source["isDefault"], source["readOnly"]) == ("prometheus", True, True)
    assert source["jsonData"]["timeInterval"] == "15s"
    # Not its health: an older Grafana does not check that of a Prometheus.
    (result,) = grafana.query([PROBE]).values()
    assert has_value(result), result


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_a_dashboard_is_there_whole(grafana: Grafana, board: dict[str, Any]) -> None:
    found = grafana.get(f"/api/dashboards/uid/{board['uid']}")
    assert found["meta"]["provisioned"] is True
    assert found["meta"]["folderTitle"] == DASHBOARD_FOLDER

    def content(document: dict[str, Any]) -> list[Any]:
        return [
            (panel["id"], panel["type"], panel["title"],
             [target["expr"] for target in panel.get("targets", ())])
            for panel in panels_of(document)
        ]  # fmt: skip

    assert content(found["dashboard"]) == content(board)


def test_rules_are_those_of_the_files(grafana: Grafana) -> None:
    assert grafana.states(ALERT_FOLDER).keys() == {rule["title"] for rule in RULES.values()}


@pytest.mark.parametrize("uid", RULES)
def test_a_rule_is_as_it_was_given(grafana: Grafana, uid: str) -> None:
    given, found = RULES[uid], grafana.provisioned(f"alert-rules/{uid}")
    for key in ("title", "condition", "noDataState", "annotations", "labels"):
        assert found[key] == given[key], key
    # Before 10.4 there is no KeepLast, and OK stands in its place.
    assert found["execErrState"] in (given["execErrState"], "OK")
    assert parse_duration_ms(_short(found["for"])) == parse_duration_ms(given["for"])
    for step, wanted in zip(found["data"], given["data"], strict=True):
        assert step["datasourceUid"] == wanted["datasourceUid"]
        assert step["model"].get("expr") == wanted["model"].get("expr")
        assert step["model"].get("conditions") == wanted["model"].get("conditions")


@pytest.mark.parametrize("uid", RULES)
def test_a_rule_is_evaluated_without_an_error(grafana: Grafana, uid: str) -> None:
    state = grafana.states(ALERT_FOLDER)[RULES[uid]["title"]]
    assert (state["health"], state.get("lastError", "")) == ("ok", "")
    assert not state["lastEvaluation"].startswith("0001")


def test_only_the_watchdog_fires(grafana: Grafana) -> None:
    states = grafana.states(ALERT_FOLDER)
    assert {name for name, state in states.items() if state["state"] == "firing"} == {"EtlWatchdog"}


def test_every_annotation_of_what_fires_is_whole(grafana: Grafana) -> None:
    for state in grafana.states(ALERT_FOLDER).values():
        for alert in state.get("alerts") or ():
            assert not [text for text in alert["annotations"].values() if HOLES.search(text)]


def test_policies_name_contact_points_that_exist(grafana: Grafana) -> None:
    points = {point["name"] for point in grafana.provisioned("contact-points")}
    tree = grafana.provisioned("policies")
    (given,) = RECEIVERS["policies"]
    assert [route["object_matchers"] for route in tree["routes"]] == [
        route["object_matchers"] for route in given["routes"]
    ]
    for route, wanted in zip(tree["routes"], given["routes"], strict=True):
        for key in ("group_wait", "group_interval", "repeat_interval"):
            assert parse_duration_ms(_short(route[key])) == parse_duration_ms(wanted[key])
    assert {tree["receiver"], *(route["receiver"] for route in tree["routes"])} <= points


def test_template_and_mute_timing_are_there(grafana: Grafana) -> None:
    templates = {one["name"]: one["template"] for one in grafana.provisioned("templates")}
    for given in RECEIVERS["templates"]:
        # Grafana puts a definition of the file's name round a text that has none.
        assert given["template"].strip() in templates[given["name"]]
    mutes = {one["name"] for one in grafana.provisioned("mute-timings")}
    assert mutes >= {one["name"] for one in RECEIVERS["muteTimes"]}


@pytest.mark.skipif(LOG not in os.environ, reason=f"{LOG} names no log of Grafana's")
def test_the_log_has_no_error() -> None:
    text = Path(os.environ[LOG]).read_text(encoding="utf-8", errors="replace")
    errors = re.findall(r'^.*(?:level=error|"level":"error").*$', text, re.MULTILINE)
    own = [line for line in errors if not NOT_OURS.search(line)]
    assert not own, "\n".join(own[:5])


def _short(duration: str) -> str:
    """``1h0m0s`` as ``1h``."""
    return re.sub(r"(?<=[a-z])0[a-z]+", "", duration)
