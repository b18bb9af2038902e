"""Copies of the rules are made to fire: no text has a hole, and the message that arrives is whole.

Whoever the provisioned policies notify is notified of the copies too.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from devtools.servers.ports import HOST
from devtools.servers.waiting import wait_until
from monitoring.render.panel_names import DATASOURCE
from tests.integration.grafana.filling import panels_of
from tests.integration.grafana.server import RECEIVER, Grafana
from tests.integration.grafana.test_loads import HOLES, RULES

# An evaluation a minute, the wait of the group, and its interval before a further message.
PATIENCE_SECONDS = 480.0
pytestmark = pytest.mark.timeout(1200)

COPIED = [uid for uid, rule in RULES.items() if rule["title"] != "EtlWatchdog"]
DELIVERED = "etl-stage-down"
UNREACHABLE = "etl-prometheus-unreachable"


class Copies:
    """A folder of copied rules, deleted in the end."""

    def __init__(self, grafana: Grafana) -> None:
        self.grafana = grafana
        self.uid = f"contract-{uuid.uuid4().hex[:12]}"
        grafana.change("POST", "/api/folders", {"uid": self.uid, "title": self.uid})

    def add(self, rule_uid: str, expr: str, **changes: Any) -> dict[str, Any]:
        """A copy that asks something else, without delay."""
        rule = self.grafana.provisioned(f"alert-rules/{rule_uid}")
        for key in ("id", "uid", "updated", "provenance"):
            rule.pop(key, None)
        rule["data"][0]["model"]["expr"] = expr
        rule |= {"folderUID": self.uid, "ruleGroup": "copies", "for": "0s", **changes}
        made: dict[str, Any] = self.grafana.change("POST", "/api/v1/provisioning/alert-rules", rule)
        return made

    def all_fire(self) -> dict[str, dict[str, Any]]:
        """Name → state, once every copy fires."""

        def firing() -> dict[str, dict[str, Any]] | None:
            states = self.grafana.states(self.uid)
            every = states and all(one["state"] == "firing" for one in states.values())
            return states if every else None

        return wait_until(
            firing, deadline_seconds=PATIENCE_SECONDS, what="every copy fires", poll_seconds=2
        )

    def until(self, name: str, state: str) -> dict[str, Any]:
        """What is said of the copy of this name, once it is in this state."""

        def found() -> dict[str, Any] | None:
            one = self.grafana.states(self.uid).get(name)
            return one if one and one["state"] == state else None

        return wait_until(
            found, deadline_seconds=PATIENCE_SECONDS, what=f"{name} {state}", poll_seconds=2
        )

    def delete(self) -> None:
        self.grafana.ask("DELETE", f"/api/folders/{self.uid}", forceDeleteRules="true")


@pytest.fixture
def copies(grafana: Grafana) -> Iterator[Copies]:
    made = Copies(grafana)
    yield made
    made.delete()


def breach(rule_uid: str) -> str:
    """A query without labels whose value is beyond the rule's limit."""
    return f"vector({_limit(rule_uid) + _direction(rule_uid):g})"


def quiet(rule_uid: str) -> str:
    """A query without labels whose value is within the rule's limit."""
    return f"vector({_limit(rule_uid) - _direction(rule_uid):g})"


def _limit(rule_uid: str) -> float:
    (limit,) = _evaluator(rule_uid)["params"]
    return float(limit)


def _direction(rule_uid: str) -> int:
    return 1 if _evaluator(rule_uid)["type"] == "gt" else -1


def _evaluator(rule_uid: str) -> dict[str, Any]:
    (condition,) = RULES[rule_uid]["data"][2]["model"]["conditions"]
    found: dict[str, Any] = condition["evaluator"]
    return found


def assert_whole(states: dict[str, dict[str, Any]]) -> None:
    for name, state in states.items():
        for alert in state["alerts"]:
            for key, text in alert["annotations"].items():
                assert text and not HOLES.search(text), (name, key, text)


def test_no_annotation_has_a_hole_without_labels(copies: Copies) -> None:
    for uid in COPIED:
        copies.add(uid, breach(uid))
    states = copies.all_fire()
    assert states.keys() == {RULES[uid]["title"] for uid in COPIED}
    assert_whole(states)


def test_no_annotation_has_a_hole_without_data(copies: Copies) -> None:
    for uid in COPIED:
        copies.add(uid, "vector(1) > 2", noDataState="Alerting")
    assert_whole(copies.all_fire())


@pytest.fixture
def nobody(grafana: Grafana) -> Iterator[str]:
    """The uid of a data source at an address where nobody listens, deleted in the end."""
    with socket.socket() as taken:
        # Bound and not listening: it refuses, and nobody else gets the port.
        taken.bind((HOST, 0))
        uid = f"contract-{uuid.uuid4().hex[:12]}"
        url = f"http://{HOST}:{taken.getsockname()[1]}"
        source = {"uid": uid, "name": uid, "type": "prometheus", "access": "proxy", "url": url}
        grafana.change("POST", "/api/datasources", source)
        yield uid
        grafana.ask("DELETE", f"/api/datasources/uid/{uid}")


def test_a_prometheus_that_does_not_answer_is_told_and_so_is_its_return(
    grafana: Grafana, copies: Copies, nobody: str
) -> None:
    rule = copies.add(UNREACHABLE, "vector(1)")
    name = rule["title"]
    copies.until(name, "inactive")

    def ask(source: str) -> None:
        rule["data"][0]["datasourceUid"] = source
        rule["data"][0]["model"]["datasource"]["uid"] = source
        grafana.change("PUT", f"/api/v1/provisioning/alert-rules/{rule['uid']}", rule)

    ask(nobody)
    assert_whole({name: copies.until(name, "firing")})
    ask(DATASOURCE)
    copies.until(name, "inactive")


class Listener(ThreadingHTTPServer):
    """Where the provisioned webhook sends to; ``messages`` are the bodies."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.messages: list[dict[str, Any]] = []
        super().__init__((host, int(port)), _Handler)

    def one(self, status: str, folder: str) -> dict[str, Any]:
        """The first message of this status about rules of the folder."""

        def found() -> dict[str, Any] | None:
            for message in self.messages:
                labels = message.get("groupLabels", {})
                if message["status"] == status and labels.get("grafana_folder") == folder:
                    return message
            return None

        return wait_until(
            found, deadline_seconds=PATIENCE_SECONDS, what=f"a message: {status}", poll_seconds=1
        )


class _Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        self.server.messages.append(json.loads(self.rfile.read(size)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener(os.environ[RECEIVER]) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def leads_somewhere(grafana: Grafana, link: str) -> bool:
    """Whether a link into this Grafana names a dashboard and a panel that exist."""
    parts = urlsplit(link)
    if "/d/" not in parts.path:
        return grafana.ask("GET", f"{parts.path}?{parts.query}").ok
    board = grafana.get(f"/api/dashboards/uid/{parts.path.partition('/d/')[2].split('/')[0]}")
    shown = parse_qs(parts.query).get("viewPanel")
    return not shown or int(shown[0]) in [one["id"] for one in panels_of(board["dashboard"])]


@pytest.mark.skipif(RECEIVER not in os.environ, reason=f"{RECEIVER} names no address to listen on")
def test_a_message_arrives_whole_and_then_its_end(
    grafana: Grafana, copies: Copies, listener: Listener
) -> None:
    labelled = 'label_replace({}, "job", "loader", "", "")'
    rule = copies.add(DELIVERED, labelled.format(breach(DELIVERED)))
    message = listener.one("firing", copies.uid)
    assert RULES[DELIVERED]["title"] in message["title"]
    assert "loader" in message["message"]
    assert not HOLES.search(message["title"] + message["message"]), message
    links = re.findall(r"https?://[^\s<>\")]+", message["message"])
    own = [link for link in links if link.startswith(message["externalURL"])]
    assert own, message["message"]
    assert all(leads_somewhere(grafana, link) for link in own), own
    runbook = message["alerts"][0]["annotations"]["runbook_url"]
    assert "://" in runbook or runbook.startswith("/d/"), runbook
    rule["data"][0]["model"]["expr"] = labelled.format(quiet(DELIVERED))
    grafana.change("PUT", f"/api/v1/provisioning/alert-rules/{rule['uid']}", rule)
    over = listener.one("resolved", copies.uid)
    assert not HOLES.search(over["title"] + over["message"]), over
