"""A message comes soon after what stands still at once, soon again when it is over, never later."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from common.config.extract import ExtractSettings
from common.config.load import LoadSettings
from common.config.pipeline import PipelineSettings
from common.durations import parse_duration_ms
from common.state.connection.redis_client import SOCKET_TIMEOUT_SECONDS
from monitoring.alerts.unreachable import UNREACHABLE
from monitoring.cases import CASES
from monitoring.catalogue import all_alerts, groups
from monitoring.model import Alert, Group, Severity
from monitoring.render.files import render
from monitoring.render.grafana_receivers import receivers_file
from monitoring.render.receivers import Receivers
from monitoring.render.timing import (
    NOTIFY,
    PROMISED_SECONDS,
    PROMPT,
    first_message_seconds,
    resolved_seconds,
)
from monitoring.thresholds import Thresholds
from services.exporter.settings import load_settings

T = Thresholds()
GROUPS = [
    *(group for file in groups(T).values() for group in file),
    Group("etl-grafana", T.evaluation_seconds, alerts=(UNREACHABLE,)),
]
PROMPT_ALERTS = [
    (alert, group) for group in GROUPS for alert in group.alerts if alert.name in PROMPT
]
each_prompt = pytest.mark.parametrize(
    ("alert", "group"), PROMPT_ALERTS, ids=[alert.name for alert, _ in PROMPT_ALERTS]
)
RENDERED = render(T)


def test_dead_stages_redis_sink_and_scrapes_are_prompt() -> None:
    assert {alert.name for alert, _ in PROMPT_ALERTS} == set(PROMPT)
    assert {alert.severity for alert, _ in PROMPT_ALERTS} == {"critical"}


@each_prompt
def test_first_message_comes_in_time(alert: Alert, group: Group) -> None:
    assert first_message_seconds(alert, group, T) <= PROMISED_SECONDS


@each_prompt
def test_it_is_over_in_time(alert: Alert, group: Group) -> None:
    assert resolved_seconds(alert, group, T) <= PROMISED_SECONDS


@each_prompt
def test_grafana_is_told_the_same_times(alert: Alert, group: Group) -> None:
    found = [
        (rendered, rule)
        for name, text in RENDERED.items()
        if name.startswith("grafana/provisioning/alerting/")
        for rendered in yaml.safe_load(text).get("groups", ())
        for rule in rendered["rules"]
        if rule["title"] == alert.name
    ]
    ((rendered, rule),) = found
    assert rendered["name"] == group.name
    assert rendered["interval"] == f"{T.grafana_prompt_evaluation_seconds:g}s"
    assert parse_duration_ms(rule["for"]) == alert.for_seconds * 1000


def test_policies_have_the_times_that_are_counted_on() -> None:
    (tree,) = receivers_file(Receivers(email_to=("a@example.com",)))["policies"]
    for route in tree["routes"]:
        ((label, _, value),) = route["object_matchers"]
        severity: Severity = "none" if value == "EtlWatchdog" else "warning"
        if label == "severity":
            severity = value
        for key in ("group_wait", "group_interval", "repeat_interval"):
            seconds = 0 if route[key] == "0s" else parse_duration_ms(route[key]) / 1000
            assert seconds == getattr(NOTIFY[severity], f"{key}_seconds")


def test_what_is_counted_on_is_what_the_services_do() -> None:
    poll = load_settings([], {"ETL_METRICS_REDIS_URL": "redis://redis"}).redis_poll_seconds
    redis, circuit = PROMPT["EtlRedisUnreachable"], PROMPT["EtlCircuitOpen"]
    assert redis.fault_seconds >= poll + SOCKET_TIMEOUT_SECONDS
    assert redis.end_seconds >= poll
    load, pipeline = LoadSettings.model_fields, PipelineSettings.model_fields
    base = load["backoff_base_seconds"].default
    waits = sum(base * 2**number for number in range(load["circuit_failures"].default - 1))
    assert circuit.fault_seconds >= pipeline["interval_seconds"].default + waits
    assert circuit.end_seconds >= load["circuit_open_seconds"].default
    for told in (circuit, PROMPT["EtlSinkRefusesUs"]):
        assert told.end_seconds >= load["backoff_max_seconds"].default


# --- none fires after its cause is over ---------------------------------------------------------

# Counts of what happened are news whenever they are learned, and rise with the event itself.
_COUNTS = re.compile(r"unless .+ offset|increase\(etl_redis_evicted|- (max\()?min_over_time\(")
# Which of their values is a mean, a slope or a lack over a range.
_OVER_A_RANGE = re.compile(r"avg_over_time|deriv|delta|rate\(|increase\(|min_over_time")
_LEVELS = {
    "EtlCircuitOpen",
    "EtlNoSuccess",
    "EtlRejectedShareHigh",
    "EtlSinkRefusesUs",
    "EtlWindowFailing",
}


def test_what_is_seen_over_a_range_does_not_fire_afterwards() -> None:
    """Each alert of a mean, slope or lack has a case of an outage that has just ended."""
    ranged = {
        alert.name
        for alert in all_alerts(T)
        if _OVER_A_RANGE.search(alert.query) and not _COUNTS.search(alert.query)
    }
    tested = {case.alert for _, cases in CASES.values() for case in cases if case.kind == "over"}
    assert tested == ranged | _LEVELS


def test_alerts_outlast_the_longest_wait_before_all_is_tried_again() -> None:
    """After an outage of the source the last attempt is still a failed one for so long."""
    longest = ExtractSettings.model_fields["backoff_max_seconds"].default
    seen = longest + T.scrape_interval_seconds + T.evaluation_seconds
    assert min(T.no_success_for_seconds, T.window_failing_for_seconds) > seen


def test_docs_promise_the_same() -> None:
    page = Path("docs/monitoring.md").read_text(encoding="utf-8")
    assert f"within {PROMISED_SECONDS} seconds" in page
