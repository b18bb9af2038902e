"""docker compose checks its files; where there is none, the check is reported as skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring import PROJECT_ROOT
from monitoring.render.checks import check_compose
from monitoring.render.compose_checks import COMBINATIONS, compose_is_here, compose_problem

needs_compose = pytest.mark.skipif(not compose_is_here(), reason="there is no docker compose")


def test_every_compose_file_is_checked() -> None:
    checked = {name for files in COMBINATIONS for name in files}
    overlays = {f"deploy/compose/{name}.yml" for name in ("tls", "stand-ins", "redis-sentinel")}
    assert checked == overlays | {path.name for path in PROJECT_ROOT.glob("docker-compose*.yml")}
    included = {"deploy/compose/monitoring-with-pipeline.yml"}
    found = {str(p.relative_to(PROJECT_ROOT)) for p in PROJECT_ROOT.glob("deploy/compose/*.yml")}
    assert found == overlays | included


@needs_compose
def test_the_files_pass() -> None:
    assert [outcome.problem for outcome in check_compose()] == [""] * len(COMBINATIONS)


@needs_compose
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("services: {a: {image: b, depends_on: [c]}}", "undefined service"),
        ("services: {a: {image: b, nonsense: 1}}", "nonsense"),
        ("services: [", "yaml"),
    ],
)
def test_what_is_wrong_is_reported(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "one.yml").write_text(text)
    assert expected in compose_problem(("one.yml",), tmp_path)


def test_without_docker_it_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (outcome,) = check_compose()
    assert (outcome.problem, outcome.skipped) == ("", True)


def test_with_a_docker_that_has_no_compose_it_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho \"docker: 'compose' is not a docker command.\"\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not compose_is_here()
