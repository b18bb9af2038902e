"""The checkout that the tests of ``etlctl stack`` run in."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from etlctl.stack import preflight
from tests.doubles.docker import FakeDocker
from tests.unit.etlctl.stack.world import Stack


@pytest.fixture
def stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Stack:
    docker = FakeDocker(tmp_path / "docker")
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("docker-compose.yml", "docker-compose.monitoring.yml"):
        (folder / name).touch()
    monkeypatch.setenv("PATH", f"{docker.bin}:{os.environ['PATH']}")
    for name in ("COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR", "DOCKER_HOST", "SECRETS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("etlctl.stack.command.CHECKOUT", folder)
    monkeypatch.setattr("etlctl.secrets.derived.BCRYPT_COST", 4)
    # Whatever else runs on this machine, and however full it is.
    check = partial(preflight.check, is_free=lambda port: True, free_bytes=lambda folder: None)
    monkeypatch.setattr("etlctl.stack.up.check", check)
    return Stack(folder, docker, capfd)
