"""A receiver of alerts that is wrong stops no start, and is told before it and in the status."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.image.receiver_secrets import RECEIVERS
from monitoring.render.files import render_receivers
from monitoring.render.receivers import Receivers
from tests.doubles.docker import container
from tests.unit.etlctl.stack.world import Stack

URL = "https://hooks.example.com/services/T0/B0/x"


@pytest.fixture
def slack(stack: Stack) -> Path:
    """The secret of a receiver that is rendered, and that compose mounts."""
    file = stack.folder / "receivers.yaml"
    file.write_text(render_receivers(Receivers(files=frozenset({"slack"}))), encoding="utf-8")
    stack.services["grafana"]["volumes"] = [
        {"type": "bind", "source": str(file), "target": RECEIVERS}
    ]
    stack.secrets.append("alert_slack_url")
    secrets = stack.folder / "secrets"
    secrets.mkdir(mode=0o700)
    path = secrets / "alert_slack_url"
    path.write_text(URL, encoding="utf-8")
    path.chmod(0o600)
    stack.docker.containers(*(container(name) for name in stack.services))
    return path


def test_one_that_is_right_is_no_news(stack: Stack, slack: Path) -> None:
    assert stack.run("up") == 0
    assert "alert_slack_url" not in stack.err
    stack.run("status", "--monitoring-only")
    assert "alert_slack_url" not in stack.out


@pytest.mark.parametrize(
    ("text", "why"), [("", "is empty"), ("hooks.example.com", "must be an address that begins")]
)
def test_one_that_is_wrong_is_told_and_stops_nothing(
    stack: Stack, slack: Path, text: str, why: str
) -> None:
    slack.write_text(text, encoding="utf-8")
    sentence = f"alerts do not reach the receiver of alert_slack_url: {slack}: {why}"
    assert stack.run("up") == 0
    assert f"note: {sentence}" in stack.err
    assert stack.docker.called("compose", "up")
    assert stack.run("status", "--monitoring-only") == 1
    assert sentence in stack.out and "ALERT_SLACK_URL_FILE" in stack.out


def test_one_that_is_not_there_is_told(stack: Stack, slack: Path) -> None:
    slack.unlink()
    assert stack.run("up") == 0
    assert f"{slack}: cannot be read" in stack.err


def test_receivers_that_are_not_there_are_told(stack: Stack, slack: Path) -> None:
    (stack.folder / "receivers.yaml").unlink()
    assert stack.run("status", "--monitoring-only") == 1
    assert "receivers.yaml: Grafana's receivers cannot be read" in stack.out
