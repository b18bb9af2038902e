"""Which compose files docker gets, and which directory of secrets they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etlctl.stack.compose import compose_files
from tests.support.secret_folders import run as run_command
from tests.unit.etlctl.stack.world import Stack


def test_monitoring_only_is_its_file_alone(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_FILE", "docker-compose.yml")
    assert stack.run("up", "--monitoring-only", "-f", "more.yml") == 0
    leading = ["--file", "docker-compose.monitoring.yml", "--file", str(stack.folder / "more.yml")]
    assert all(call[3:7] == leading for call in stack.docker.calls if "--project-dir" in call)
    assert stack.docker.called("up")
    assert stack.run("down", "--monitoring-only") == 0
    assert stack.docker.called("--file", "docker-compose.monitoring.yml", "down") == [[]]


@pytest.mark.parametrize(
    ("environ", "dotenv", "override", "found"),
    [
        ({}, "", False, ["docker-compose.yml"]),
        ({}, "", True, ["docker-compose.yml", "docker-compose.override.yml"]),
        ({"COMPOSE_FILE": "a.yml:b.yml"}, "COMPOSE_FILE=c.yml", True, ["a.yml", "b.yml"]),
        ({}, "# mine\nexport COMPOSE_FILE='c.yml:d.yml'\n", True, ["c.yml", "d.yml"]),
        ({"COMPOSE_FILE": "a.yml,b.yml", "COMPOSE_PATH_SEPARATOR": ","}, "", 0, ["a.yml", "b.yml"]),
    ],
)
def test_one_more_file_goes_over_those_that_compose_would_find(
    tmp_path: Path, environ: dict[str, str], dotenv: str, override: bool, found: list[str]
) -> None:
    (tmp_path / ".env").write_text(dotenv, encoding="utf-8")
    if override:
        (tmp_path / "docker-compose.override.yml").touch()
    here = Path("/elsewhere")
    files = compose_files(tmp_path, here, [Path("x.yml")], environ, monitoring_only=False)
    assert files == [*found, "/elsewhere/x.yml"]
    # One that is named again is named once.
    again = [tmp_path / found[0], Path("x.yml")]
    assert compose_files(tmp_path, here, again, environ, monitoring_only=False) == files
    # With none of ours compose decides by itself.
    assert compose_files(tmp_path, here, [], environ, monitoring_only=False) == []


def test_a_folder_without_files(stack: Stack, tmp_path: Path) -> None:
    assert stack.run("up", "--project-dir", str(tmp_path)) == 2
    assert stack.problems == [
        f"{tmp_path}: holds no docker-compose.yml: name the checkout with --project-dir"
    ]


def test_secrets_have_one_directory(stack: Stack) -> None:
    document = {
        "name": "etl",
        "services": {},
        "secrets": {
            "redis_loader_password": {"file": "/a/redis_loader_password"},
            "metrics_password": {"file": "/b/metrics_password"},
            "pip_conf": {"file": "/c/empty"},
        },
    }
    assert stack.run("ps") == 0
    stack.docker.respond("compose", "config", "--format", "json", out=json.dumps(document))
    code, _, err = run_command(stack.capfd, "stack", "up")
    assert code == 2
    assert err == ("etlctl: the compose files expect secrets in /a, /b: it must be one directory\n")
