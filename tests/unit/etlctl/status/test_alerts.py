"""Which alerts fire, and when that is not known."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from common.config import Settings
from etlctl.status.alerts import Alerts, alerts_of, read_alerts
from tests.support.answering_server import AnsweringServer, reply
from tests.support.settings_files import PLAIN


def settings_of(**extract: Any) -> Settings:
    return Settings.model_validate({**PLAIN, "extract": extract})


def body(**states: str) -> bytes:
    rules = [{"name": name, "state": state, "type": "alerting"} for name, state in states.items()]
    groups = [{"name": "others", "rules": []}, {"name": "etl", "rules": rules}]
    return json.dumps({"status": "success", "data": {"groups": groups}}).encode()


def test_those_of_the_pipeline_that_fire() -> None:
    found = alerts_of(
        body(EtlWatchdog="firing", EtlStageDown="firing", EtlNoSuccess="pending", Other="firing")
    )
    assert found == Alerts(["EtlStageDown"])


def test_none_fires_where_the_rules_are_there() -> None:
    assert alerts_of(body(EtlWatchdog="firing")) == Alerts([])


def test_the_watchdog_need_not_be_among_the_rules() -> None:
    found = alerts_of(body(EtlStageDown="firing", EtlNoSuccess="inactive"))
    assert found == Alerts(["EtlStageDown"])


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (body(Other="firing"), "does not have the pipeline's rules"),
        (b"<html>", "no list"),
        (b"[]", "no list"),
        (b'{"data": {"groups": [{"rules": [{"state": "firing"}]}]}}', "no list"),
    ],
)
def test_what_cannot_be_known_is_said(said: bytes, why: str) -> None:
    found = alerts_of(said)
    assert found.firing is None
    assert why in found.why


def test_a_prometheus_that_is_away_is_no_error() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = read_alerts(settings_of(prometheus_url=f"http://127.0.0.1:{port}"))
    assert found.firing is None
    assert "refused" in found.why


def test_prometheus_is_asked_once_for_its_alerts() -> None:
    with AnsweringServer(reply(body(EtlWatchdog="firing", EtlNoSuccess="firing"))) as server:
        found = read_alerts(settings_of(prometheus_url=server.url))
    assert found == Alerts(["EtlNoSuccess"])
    assert [one.path for one in server.requests] == ["/api/v1/rules"]


def test_a_source_without_such_a_page_is_no_error() -> None:
    with AnsweringServer(reply(b"no such page", status=404)) as server:
        found = read_alerts(settings_of(prometheus_url=server.url))
    assert found == Alerts(None, "Prometheus shows no rules")


def test_of_several_sources_each_is_asked_as_its_own_settings_say() -> None:
    rules = reply(body(EtlWatchdog="firing"))
    with AnsweringServer(reply(b"", status=401)) as refuses, AnsweringServer(rules) as server:
        sources = [
            {"name": "a", "url": refuses.url, "labels": {"site": "a"}},
            {
                "name": "b",
                "url": server.url,
                "labels": {"site": "b"},
                "headers": {"X-Scope-OrgID": "tenant"},
            },
        ]
        found = read_alerts(settings_of(sources=sources))
    assert found == Alerts([])
    assert [one.headers.get("X-Scope-OrgID") for one in server.requests] == ["tenant"]
