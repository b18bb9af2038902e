"""A secret of alert receivers that is wrong stops nobody: Grafana starts, and it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.image.receiver_secrets import (
    RECEIVERS,
    SECRET_FILES,
    WATCHDOG,
    named_in,
    problem_with,
    stand_in,
    why_unfit,
)
from deploy.image.secret_handout import run
from deploy.image.secret_list import ROWS, Consumer
from devtools import PROJECT_ROOT
from monitoring.render.files import render_receivers
from monitoring.render.receivers import Receivers
from tests.support.secret_folders import Capture, contents
from tests.unit.deploy.test_secret_handout import GID, UID

URL = "https://hooks.example.com/services/T0/B0/x"
GRAFANA = next(row for row in ROWS if row.name == "grafana")
ALL = render_receivers(Receivers(files=frozenset(SECRET_FILES)))


class Handout:
    """Secrets of Grafana and its receivers, and what becomes of them."""

    def __init__(self, base: Path, capsys: Capture) -> None:
        self.source, self.target, self.capsys = base / "run-secrets", base / "handout", capsys
        self.source.mkdir()
        (self.target / "grafana").mkdir(parents=True)
        self.write("grafana_secret_key", "key")
        for name in SECRET_FILES.values():
            self.write(name, "a" * 32 if name == SECRET_FILES["pagerduty"] else URL)

    def write(self, name: str, text: str, mode: int = 0o600) -> None:
        (self.source / name).write_text(text, encoding="utf-8")
        (self.source / name).chmod(mode)

    def run(self, receivers: str = ALL) -> dict[str, str]:
        """What Grafana is given of the receivers' secrets."""
        optional = GRAFANA.optional.split()
        grafana = Consumer(
            "grafana", UID, GID, ("grafana_secret_key", *optional), frozenset(optional)
        )
        assert run((grafana,), self.source, self.target, receivers=receivers) == 0
        given = contents(self.target / "grafana")
        assert given.pop("grafana_secret_key") == b"key"
        return {name: content.decode() for name, content in given.items()}

    @property
    def told(self) -> list[str]:
        return self.capsys.readouterr().err.splitlines()


@pytest.fixture
def handout(tmp_path: Path, capsys: Capture) -> Handout:
    return Handout(tmp_path, capsys)


def test_every_receiver_that_is_rendered_is_found_in_its_file() -> None:
    assert named_in(ALL) == set(SECRET_FILES.values()) == set(GRAFANA.optional.split())
    assert not named_in(render_receivers(Receivers(email_to=("a@example.com",))))


def test_what_is_right_is_handed_out_as_it_is(handout: Handout) -> None:
    given = handout.run()
    assert set(given) == set(SECRET_FILES.values())
    assert all(why_unfit(name, text) == "" for name, text in given.items())
    assert not [text for text in given.values() if "is-wrong" in text]
    assert handout.told == []


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("", 0o600, "is missing or empty, and Grafana's receivers need it"),
        ("\n", 0o600, "is empty"),
        ("xoxb-token", 0o600, "must be an address that begins with http:// or https://"),
        ("https://x/$y", 0o600, "must not contain $"),
        (URL, 0o644, "is open to others on the host (mode 0644): chmod 600 alert_slack_url"),
        ("https://a\nhttps://b", 0o600, "holds line breaks or control characters"),
    ],
)
def test_what_is_wrong_is_replaced_and_told(
    handout: Handout, text: str, mode: int, why: str
) -> None:
    """The watchdog hears nothing either, so that whoever waits for it raises the alarm."""
    handout.write("alert_slack_url", text, mode)
    given = handout.run()
    assert handout.told == [f"secrets: alert_slack_url: {why}: this receiver of alerts gets none"]
    assert given["alert_slack_url"] == "http://alert-slack-url-is-wrong.invalid/"
    assert given[WATCHDOG] == "http://alert-watchdog-url-is-wrong.invalid/"
    assert given["alert_webhook_url"] == URL


def test_what_nobody_names_need_not_be_there(handout: Handout) -> None:
    for name in SECRET_FILES.values():
        handout.write(name, "")
    assert handout.run(render_receivers(Receivers())) == {}
    assert handout.told == []


def test_what_stands_in_is_what_grafana_accepts() -> None:
    for name in SECRET_FILES.values():
        text = stand_in(name).decode()
        assert text and "$" not in text
        assert not name.endswith("_url") or why_unfit(name, text) == ""


def test_a_file_is_judged_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "slack"
    assert "cannot be read" in problem_with("alert_slack_url", path)
    path.write_text(URL)
    path.chmod(0o600)
    assert problem_with("alert_slack_url", path) == ""
    path.write_text("hooks.example.com")
    assert problem_with("alert_slack_url", path).startswith("must be an address")


def test_both_containers_see_the_same_file() -> None:
    text = (PROJECT_ROOT / "docker-compose.monitoring.yml").read_text(encoding="utf-8")
    assert text.count(f":{RECEIVERS}:ro") == 1 and text.count("- *receivers") == 1
