"""Receivers from variables and secret files: what is taken, and what is refused in one sentence."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from common.errors import ConfigError
from monitoring import PROJECT_ROOT
from monitoring.render.files import render_receivers
from monitoring.render.receivers import Receivers, file_problems, receivers_from

NO_FILE = os.strerror(errno.ENOENT)
URL = "https://hooks.example.com/services/T0/B0/x"


def secret(folder: Path, name: str, text: str, mode: int = 0o600) -> Path:
    path = folder / name
    path.write_text(text + "\n")
    path.chmod(mode)
    return path


def problems(environ: dict[str, str], folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        receivers_from(environ, folder)
    return list(caught.value.problems)


def test_nothing_configured_is_nothing(tmp_path: Path) -> None:
    for environ in ({}, {"ALERT_EMAIL_TO": "", "PATH": "/bin"}):
        receivers = receivers_from(environ, tmp_path / "nowhere")
        assert not any(receivers.kinds(severity) for severity in ("critical", "warning"))
        assert not receivers.files


def test_addresses_come_from_variables_and_secrets_from_files(tmp_path: Path) -> None:
    secret(tmp_path, "alert_slack_url", URL)
    secret(tmp_path, "alert_pagerduty_key", "a" * 32)
    secret(tmp_path, "alert_watchdog_url", URL)
    secret(tmp_path, "alert_webhook_token", "s3cret-token")
    receivers = receivers_from(
        {
            "ALERT_EMAIL_TO": "ops@example.com, night@example.com",
            "ALERT_WEBHOOK_URL": "http://hook.example.com:9000/etl",
            "ALERT_EMAIL_SEVERITIES": "warning",
        },
        tmp_path,
    )
    assert receivers.email_to == ("ops@example.com", "night@example.com")
    assert receivers.files == {"slack", "pagerduty", "watchdog", "webhook_token"}
    assert receivers.kinds("critical") == ("webhook", "slack", "pagerduty")
    assert receivers.kinds("warning") == ("email", "webhook", "slack")


def test_pager_is_for_the_critical_unless_asked(tmp_path: Path) -> None:
    secret(tmp_path, "alert_pagerduty_key", "a" * 32)
    assert receivers_from({}, tmp_path).kinds("warning") == ()
    environ = {"ALERT_PAGERDUTY_SEVERITIES": "critical,warning"}
    assert receivers_from(environ, tmp_path).kinds("warning") == ("pagerduty",)


def test_rendered_file_says_who_is_notified() -> None:
    assert "# No receiver is configured" in render_receivers(Receivers())
    text = render_receivers(Receivers(files=frozenset({"slack"})))
    assert "# Sent are critical: slack; warning: slack." in text
    assert "No receiver" not in text


def test_receivers_made_by_hand_tell_all_severities() -> None:
    assert Receivers(files=frozenset({"slack"})).kinds("warning") == ("slack",)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"ALERT_EMAIL_TO": "ops"}, "ALERT_EMAIL_TO: 'ops' is no e-mail address"),
        ({"ALERT_EMAIL_TO": "o$x@example.com"}, "is no e-mail address"),
        (
            {"ALERT_WEBHOOK_URL": "hook.example.com"},
            "ALERT_WEBHOOK_URL: must be an address that begins with http:// or https://",
        ),
        ({"ALERT_WEBHOOK_URL": "http://["}, "ALERT_WEBHOOK_URL: must be an address"),
        ({"ALERT_WEBHOOK_URL": "http://x/$HOME"}, "ALERT_WEBHOOK_URL: must not contain $"),
        (
            {"ALERT_SLACK_SEVERITIES": "page"},
            "ALERT_SLACK_SEVERITIES: 'page' is none of critical, warning",
        ),
        (
            {"ALERT_MAIL_TO": "a@example.com"},
            "ALERT_MAIL_TO: is no setting; there are ALERT_EMAIL_",
        ),
    ],
)
def test_bad_variable_is_one_sentence(
    environ: dict[str, str], expected: str, tmp_path: Path
) -> None:
    (problem,) = problems(environ, tmp_path)
    assert expected in problem


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("alert_slack_url", "xoxb-token", "must be an address that begins with http"),
        ("alert_slack_url", "", "is empty"),
        ("alert_slack_url", "https://x/$y", "must not contain $"),
        ("alert_pagerduty_key", "short", "is no PagerDuty integration key"),
        ("alert_webhook_token", "token", "there is no webhook to go with it"),
    ],
)
def test_bad_secret_is_one_sentence_that_does_not_tell_it(
    name: str, text: str, expected: str, tmp_path: Path
) -> None:
    path = secret(tmp_path, name, text)
    (problem,) = problems({}, tmp_path)
    assert problem.startswith(f"{path}: ") and expected in problem
    assert not text or text not in problem.removeprefix(f"{path}: ").replace("webhook_token", "")


def test_secret_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    secret(tmp_path, "alert_slack_url", URL, 0o644)
    (problem,) = problems({}, tmp_path)
    assert "every user can read (mode 0644): make it 0600" in problem


def test_webhook_is_given_once(tmp_path: Path) -> None:
    secret(tmp_path, "alert_webhook_url", URL)
    (problem,) = problems({"ALERT_WEBHOOK_URL": URL}, tmp_path)
    assert problem.endswith("alert_webhook_url: give the address once")


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    secret(tmp_path, "alert_slack_url", "x")
    secret(tmp_path, "alert_pagerduty_key", "y")
    assert len(problems({"ALERT_EMAIL_TO": "a,b"}, tmp_path)) == 4


def run(*arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    ours = ("ALERT_", "GRAFANA_", "SECRETS_DIR")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        [sys.executable, "-m", "monitoring", *arguments],
        cwd=PROJECT_ROOT,
        env={**clean, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=50,
    )


def test_command_writes_what_grafana_reads(tmp_path: Path) -> None:
    secret(tmp_path, "alert_slack_url", URL)
    output = tmp_path / "grafana" / "receivers.yaml"
    before = os.umask(0o077)  # as of a person who has just written a secret
    try:
        done = run(
            *("receivers", "--secrets", str(tmp_path), "--output", str(output)),
            environ={"ALERT_EMAIL_TO": "ops@example.com"},
        )
    finally:
        os.umask(before)
    assert (done.returncode, done.stderr) == (0, "")
    assert output.stat().st_mode & 0o777 == 0o644
    document = yaml.safe_load(output.read_text())
    assert [point["name"] for point in document["contactPoints"]] == [
        "etl-critical",
        "etl-warning",
        "etl-nobody",
    ]
    assert URL not in output.read_text()


def test_command_reads_the_folder_that_the_deployment_does(tmp_path: Path) -> None:
    secret(tmp_path, "alert_slack_url", URL)
    done = run("receivers", environ={"SECRETS_DIR": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")
    assert "$__file{/run/secrets/alert_slack_url}" in done.stdout


def test_check_says_who_is_notified_and_writes_nothing(tmp_path: Path) -> None:
    path = secret(tmp_path, "alert_slack_url", URL)
    rendered = tmp_path / "receivers.yaml"
    rendered.write_text(render_receivers(Receivers(files=frozenset({"slack"}))))
    environ = {"SECRETS_DIR": str(tmp_path), "GRAFANA_RECEIVERS_FILE": str(rendered)}
    done = run("receivers", "--check", environ=environ | {"ALERT_SLACK_URL_FILE": str(path)})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Sent are critical: slack; warning: slack.\n"


def test_check_finds_what_grafana_would_miss(tmp_path: Path) -> None:
    rendered = tmp_path / "receivers.yaml"
    assert [*file_problems(rendered, {})] == [f"{rendered}: cannot be read: {NO_FILE}"]
    rendered.write_text(render_receivers(Receivers(files=frozenset({"slack", "watchdog"}))))
    path = secret(tmp_path, "empty", "")
    environ = {"ALERT_WATCHDOG_URL_FILE": str(path)}
    assert [*file_problems(rendered, environ)] == [
        f"ALERT_SLACK_URL_FILE: is not set, and {rendered} needs alert_slack_url",
        f"ALERT_WATCHDOG_URL_FILE: {path}: is empty",
    ]


def test_command_refuses_in_one_line_and_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "receivers.yaml"
    done = run(
        *("receivers", "--secrets", str(tmp_path), "--output", str(output)),
        environ={"ALERT_EMAIL_TO": "nobody"},
    )
    assert done.returncode == 2
    assert done.stderr == "monitoring: ALERT_EMAIL_TO: 'nobody' is no e-mail address\n"
    assert not output.exists()


def test_render_check_says_nothing_when_all_is_as_rendered() -> None:
    done = run("render", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
