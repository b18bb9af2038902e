"""Grafana's provisioning files, held to what docs/monitoring.md assumes about Grafana."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from typing import Any

import pytest
import yaml

from common.durations import parse_duration_ms
from deploy.image.receiver_secrets import SECRET_FILES
from monitoring.alerts.unreachable import UNREACHABLE
from monitoring.catalogue import all_alerts
from monitoring.model import Alert
from monitoring.render.files import render
from monitoring.render.grafana_alerts import RETIRED, description
from monitoring.render.grafana_receivers import ALWAYS, NOBODY, WATCHDOG, receivers_file
from monitoring.render.panel_names import (
    ALERT_FOLDER,
    DASHBOARD_FOLDER,
    DATASOURCE,
    RUNBOOK_DASHBOARD,
)
from monitoring.render.receivers import SEVERITIES, Receivers
from monitoring.render.yaml_text import dump
from monitoring.thresholds import Thresholds

PROVISIONING = "grafana/provisioning/"
FILES = {
    name.removeprefix(PROVISIONING): yaml.safe_load(text)
    for name, text in render().items()
    if name.startswith(PROVISIONING)
}
RUNBOOK = json.loads(render()[f"grafana/dashboards/{RUNBOOK_DASHBOARD}.json"])
GROUPS = [
    group
    for name, document in FILES.items()
    if name.startswith("alerting/")
    for group in document.get("groups", ())
]
RULES = {rule["title"]: rule for group in GROUPS for rule in group["rules"]}
ALERTS = (*all_alerts(Thresholds()), UNREACHABLE)

each_rule = pytest.mark.parametrize("title", RULES)


def strings(document: Any) -> list[str]:
    """Every text in a document, keys left out."""
    if isinstance(document, dict):
        return [text for value in document.values() for text in strings(value)]
    if isinstance(document, list):
        return [text for value in document for text in strings(value)]
    return [document] if isinstance(document, str) else []


# --- rules ------------------------------------------------------------------------------------


def test_every_alert_is_a_rule_and_every_rule_an_alert() -> None:
    assert set(RULES) == {alert.name for alert in ALERTS}
    assert len(RULES) == sum(len(group["rules"]) for group in GROUPS)


def test_groups_are_named_once_and_lie_in_a_folder_of_their_own() -> None:
    assert not [name for name, n in Counter(group["name"] for group in GROUPS).items() if n > 1]
    assert {group["folder"] for group in GROUPS} == {ALERT_FOLDER}
    assert ALERT_FOLDER != DASHBOARD_FOLDER
    for group in GROUPS:
        assert parse_duration_ms(group["interval"]) % 10_000 == 0
        assert group["orgId"] == 1


def test_uids_fit_and_are_unique() -> None:
    uids = [rule["uid"] for rule in RULES.values()]
    assert len(uids) == len(set(uids))
    for uid in uids:
        assert re.fullmatch(r"[a-z0-9-]{1,40}", uid)
    assert not set(RETIRED) & set(uids)


@each_rule
def test_steps_follow_one_another(title: str) -> None:
    rule = RULES[title]
    queried, reduced, compared = rule["data"]
    assert [step["refId"] for step in rule["data"]] == ["A", "B", "C"]
    assert rule["condition"] == "C"
    assert queried["datasourceUid"] == DATASOURCE
    assert queried["model"]["instant"] is True and queried["model"]["range"] is False
    assert reduced["datasourceUid"] == compared["datasourceUid"] == "__expr__"
    assert reduced["model"]["type"] == "reduce" and reduced["model"]["expression"] == "A"
    assert compared["model"]["type"] == "threshold" and compared["model"]["expression"] == "B"
    for step in rule["data"]:
        assert step["model"]["refId"] == step["refId"]
        assert step["model"]["datasource"]["uid"] == step["datasourceUid"]
        assert set(step["relativeTimeRange"]) == {"from", "to"}
    assert queried["relativeTimeRange"]["from"] > queried["relativeTimeRange"]["to"] == 0


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_rule_asks_and_compares_what_prometheus_does(alert: Alert) -> None:
    rule = RULES[alert.name]
    (condition,) = rule["data"][2]["model"]["conditions"]
    evaluator = condition["evaluator"]
    assert rule["data"][0]["model"]["expr"] == alert.query
    assert evaluator["type"] == {">": "gt", "<": "lt"}[alert.limit.operator]
    assert evaluator["params"] == [alert.limit.value]
    assert parse_duration_ms(rule["for"]) == alert.for_seconds * 1000
    assert rule["labels"] == {"severity": alert.severity}
    assert rule["annotations"]["summary"] == alert.summary


@each_rule
def test_missing_data_is_no_alert_and_only_one_alert_tells_of_errors(title: str) -> None:
    rule = RULES[title]
    assert rule["noDataState"] == "OK"
    reports = title == UNREACHABLE.name
    assert rule["execErrState"] == ("Alerting" if reports else "KeepLast")
    assert rule["isPaused"] is False


@each_rule
def test_panel_is_named_in_both_places(title: str) -> None:
    """But for the one that always fires: its panel would look broken for ever."""
    rule = RULES[title]
    assert rule["annotations"].get("__dashboardUid__") == rule.get("dashboardUid")
    assert rule["annotations"].get("__panelId__", "None") == str(rule.get("panelId"))
    assert ("panelId" in rule) is (title != WATCHDOG)


@each_rule
def test_runbook_is_a_panel_of_the_same_grafana(title: str) -> None:
    annotations = RULES[title]["annotations"]
    panel = next(panel for panel in RUNBOOK["panels"] if panel["title"] == title)
    assert annotations["runbook"] == f"d/{RUNBOOK_DASHBOARD}?viewPanel={panel['id']}"
    assert annotations["runbook_url"] == f"/{annotations['runbook']}"


@each_rule
def test_message_says_what_to_do_first_and_how_long_it_waited(title: str) -> None:
    rule = RULES[title]
    assert re.fullmatch(r"[^a-z].*[.?]", rule["annotations"]["first_step"])
    assert rule["annotations"].get("waited", "0s") == rule["for"]


@each_rule
def test_nothing_is_taken_for_a_variable_of_the_environment(title: str) -> None:
    """Grafana expands $ in labels, and newer ones in annotations; in a query it is no use."""
    assert not [text for text in strings(RULES[title]) if "$" in text]


_NUMBER = r"{{ with \.Values\.B }}{{ \.Value \| humanize\w* }}{{ else }}[^{}]+{{ end }}"
_LABEL = r"{{ with \.Labels\.\w+ }}{{ \. }}{{ else }}[^{}]+{{ end }}"


@each_rule
def test_annotations_are_whole_without_labels_and_values(title: str) -> None:
    """Grafana renders them at each evaluation, also without data: then there are neither."""
    for text in RULES[title]["annotations"].values():
        assert "{{" not in re.sub(f"{_NUMBER}|{_LABEL}", "", text), text


def test_values_and_labels_become_guarded() -> None:
    alert = next(alert for alert in ALERTS if alert.name == "EtlNoSuccess")
    assert "{{ .Value | humanizeDuration }}" in alert.description
    number = "{{ with .Values.B }}{{ .Value | humanizeDuration }}{{ else }}an unknown number of"
    assert number in description(alert)
    assert "{{ with .Labels.job }}{{ . }}{{ else }}an unknown job{{ end }}" in description(alert)


# --- receivers --------------------------------------------------------------------------------

_FILE_KINDS = ("webhook", "slack", "pagerduty", "watchdog")
COMBINATIONS = [
    Receivers(
        email_to=("a@example.com", "b@example.com") if email else (),
        files=frozenset(kinds),
        severities={"pagerduty": ("critical",)},
    )
    for email in (False, True)
    for count in range(len(_FILE_KINDS) + 1)
    for kinds in itertools.combinations(_FILE_KINDS, count)
]

each_combination = pytest.mark.parametrize(
    "receivers",
    COMBINATIONS,
    ids=lambda r: "+".join(("email",) * bool(r.email_to) + tuple(sorted(r.files))) or "nothing",
)


def routes(receivers: Receivers) -> list[dict[str, Any]]:
    (policy,) = receivers_file(receivers)["policies"]
    found: list[dict[str, Any]] = policy["routes"]
    return found


def route_of(receivers: Receivers, **labels: str) -> dict[str, Any]:
    """The branch that an alert with these labels takes."""
    for route in routes(receivers):
        if all(
            re.fullmatch(value if operator == "=~" else re.escape(value), labels.get(label, ""))
            for label, operator, value in route["object_matchers"]
        ):
            return route
    raise AssertionError("no branch")


@each_combination
def test_policies_name_only_what_the_file_makes(receivers: Receivers) -> None:
    document = receivers_file(receivers)
    points = [point["name"] for point in document["contactPoints"]]
    assert len(points) == len(set(points))
    (policy,) = document["policies"]
    assert policy["receiver"] in points
    # Grafana refuses either on the root.
    assert not {"object_matchers", "matchers", "mute_time_intervals"} & set(policy)
    mutes = {mute["name"] for mute in document["muteTimes"]}
    for route in policy["routes"]:
        assert route["receiver"] in points
        assert set(route.get("mute_time_intervals", ())) <= mutes
        for key in ("group_wait", "group_interval", "repeat_interval"):
            parse_duration_ms(route[key])
        assert parse_duration_ms(route["repeat_interval"]) >= parse_duration_ms(
            route["group_interval"]
        )


@each_combination
def test_receivers_are_made_or_deleted_and_never_both(receivers: Receivers) -> None:
    document = receivers_file(receivers)
    made = [one["uid"] for point in document["contactPoints"] for one in point["receivers"]]
    deleted = [entry["uid"] for entry in document["deleteContactPoints"]]
    assert len(made) == len(set(made)) and len(deleted) == len(set(deleted))
    assert not set(made) & set(deleted)
    all_uids = {
        f"etl-{s}-{k}" for s in SEVERITIES for k in ("email", "webhook", "slack", "pagerduty")
    }
    assert set(made) | set(deleted) == all_uids | {NOBODY, "etl-watchdog"}
    assert all(len(uid) <= 40 for uid in made)


@each_combination
def test_every_contact_point_has_a_receiver_with_what_its_kind_needs(receivers: Receivers) -> None:
    needs = {
        "email": {"addresses"},
        "webhook": {"url"},
        "slack": {"url"},
        "pagerduty": {"integrationKey"},
    }
    for point in receivers_file(receivers)["contactPoints"]:
        assert point["receivers"]
        for one in point["receivers"]:
            settings = one["settings"]
            assert needs[one["type"]] <= settings.keys()
            assert all(settings[key] for key in needs[one["type"]])


@each_combination
def test_only_secret_files_are_expanded_and_only_those_that_exist(receivers: Receivers) -> None:
    named = set()
    for text in strings(receivers_file(receivers)):
        if "$" in text:
            match = re.fullmatch(r"\$__file{/run/secrets/(\w+)}", text)
            assert match, text
            named.add(match[1])
    assert named == {SECRET_FILES[kind] for kind in receivers.files}


@each_combination
def test_an_alert_without_a_receiver_is_silent_for_good(receivers: Receivers) -> None:
    """Otherwise Grafana would try to send e-mail, fail, and log it, for each alert again."""
    for route in routes(receivers):
        muted = route.get("mute_time_intervals", [])
        assert muted == ([ALWAYS] if route["receiver"] == NOBODY else [])
    (mute,) = receivers_file(receivers)["muteTimes"]
    assert mute["time_intervals"] == [{"times": [{"start_time": "00:00", "end_time": "24:00"}]}]


@each_combination
def test_severities_take_their_own_branches(receivers: Receivers) -> None:
    for severity in SEVERITIES:
        there = bool(receivers.kinds(severity))
        route = route_of(receivers, alertname="EtlX", severity=severity)
        assert route["receiver"] == (f"etl-{severity}" if there else NOBODY)
    watchdog = route_of(receivers, alertname=WATCHDOG, severity="none")
    assert watchdog["receiver"] == ("etl-watchdog" if "watchdog" in receivers.files else NOBODY)


def test_alerts_of_others_are_sent_if_any_are() -> None:
    assert route_of(Receivers(), alertname="Theirs")["receiver"] == NOBODY
    notified = Receivers(email_to=("a@example.com",))
    assert route_of(notified, alertname="Theirs")["receiver"] == "etl-warning"
    only_critical = Receivers(
        files=frozenset({"pagerduty"}), severities={"pagerduty": ("critical",)}
    )
    assert route_of(only_critical, alertname="Theirs")["receiver"] == "etl-critical"


def test_watchdog_is_the_alert_that_fires_always() -> None:
    assert WATCHDOG in RULES
    assert RULES[WATCHDOG]["data"][0]["model"]["expr"] == "vector(1)"


def test_committed_receivers_notify_nobody() -> None:
    document = FILES["alerting/receivers.yaml"]
    assert document == yaml.safe_load(dump(receivers_file(Receivers()), "x"))
    assert [point["name"] for point in document["contactPoints"]] == [NOBODY]


def test_all_kinds_together_are_written_as_grafana_reads_them() -> None:
    receivers = Receivers(
        email_to=("a@example.com", "b@example.com"),
        webhook_url="https://hook.example.com/etl",
        files=frozenset({"webhook_token", "slack", "pagerduty", "watchdog"}),
    )
    document = receivers_file(receivers)
    critical = next(p for p in document["contactPoints"] if p["name"] == "etl-critical")
    settings = {one["type"]: one["settings"] for one in critical["receivers"]}
    assert settings["email"]["addresses"] == "a@example.com;b@example.com"
    assert settings["webhook"]["url"] == "https://hook.example.com/etl"
    assert settings["webhook"]["authorization_scheme"] == "Bearer"
    assert settings["webhook"]["authorization_credentials"] == (
        "$__file{/run/secrets/alert_webhook_token}"
    )
    assert settings["slack"]["url"] == "$__file{/run/secrets/alert_slack_url}"
    assert settings["pagerduty"]["severity"] == "critical"


def test_template_is_whole() -> None:
    """Every block of the template language that begins also ends, and what is used is defined."""
    (entry,) = receivers_file(Receivers())["templates"]
    text = entry["template"]
    opened = re.findall(r"{{-? ?(define|if|range|with)\b", text)
    assert len(opened) == len(re.findall(r"{{-? ?end ?-?}}", text))
    defined = set(re.findall(r'define "([^"]+)"', text))
    used = set(
        re.findall(r'template "([^"]+)"', text + "".join(strings(receivers_file(COMBINATIONS[-1]))))
    )
    assert used == defined
    assert text.count("{{") == text.count("}}")
    # Nothing that may be missing is printed unasked.
    printed = set(re.findall(r"{{-? (\.[\w.]*) -?}}", text))
    assert printed == {
        ".",
        ".Labels.alertname",
        ".ExternalURL",
        ".CommonAnnotations.runbook",  # inside an `if`
    }


# --- data source and dashboards ---------------------------------------------------------------


def test_data_source_reads_its_password_from_a_file() -> None:
    (source,) = FILES["datasources/prometheus.yaml"]["datasources"]
    assert source["uid"] == DATASOURCE
    assert source["basicAuth"] is True and source["basicAuthUser"] == "readonly"
    assert source["secureJsonData"] == {
        "basicAuthPassword": "$__file{/run/secrets/prometheus_readonly_password}"
    }
    assert source["jsonData"]["timeInterval"] == "15s"
    assert source["editable"] is False


def test_data_source_of_https_brings_the_authority() -> None:
    document = yaml.safe_load(render()["grafana/tls/datasources/prometheus.yaml"])
    (source,) = document["datasources"]
    assert source["url"] == "https://prometheus:9090"
    assert source["jsonData"]["tlsAuthWithCACert"] is True
    assert source["secureJsonData"]["tlsCACert"] == "$__file{/run/secrets/tls_ca.crt}"


def test_dashboards_are_found_and_cannot_be_changed_in_the_browser() -> None:
    (provider,) = FILES["dashboards/etl.yaml"]["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    assert provider["folder"] == DASHBOARD_FOLDER
    assert provider["allowUiUpdates"] is False


def test_every_folder_that_grafana_looks_into_is_there() -> None:
    """It logs an error about one that is missing, at each start."""
    folders = {name.partition("/")[0] for name in FILES}
    assert folders == {"alerting", "dashboards", "datasources", "plugins"}


def test_every_provisioning_file_says_its_version() -> None:
    assert all(document["apiVersion"] == 1 for document in FILES.values())
