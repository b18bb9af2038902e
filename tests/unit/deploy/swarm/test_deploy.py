"""deploy/swarm/deploy, with a docker that only writes down what it is asked for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from devtools import PROJECT_ROOT

DOCKER = """\
#!/bin/sh
[ -z "$FILES" ] || echo "$SECRETS_DIR $ETL_CONFIG_FILE ${GRAFANA_RECEIVERS_FILE-none}" >"$FILES"
echo "$* $ETL_SECRETS_VERSION/$ETL_CONFIG_VERSION/$ETL_SERVERS_VERSION" >>"$CALLS"
if [ "$1" = run ]; then
  [ -z "$REFUSE" ] || { echo "sink: refused" >&2; exit 1; }
  echo token >"$SECRETS_DIR/influxdb_token"
fi
"""


class World:
    """A folder of secrets and a docker."""

    def __init__(self, folder: Path) -> None:
        self.calls_file = folder / "calls"
        self.secrets = folder / "secrets"
        self.secrets.mkdir()
        (self.secrets / "metrics_password").write_text("one")
        self.programs = folder / "bin"
        self.programs.mkdir()
        docker = self.programs / "docker"
        docker.write_text(DOCKER)
        docker.chmod(0o755)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.calls_file.unlink(missing_ok=True)
        return subprocess.run(
            [PROJECT_ROOT / "deploy" / "swarm" / "deploy", *arguments],
            env={
                "PATH": f"{self.programs}:/usr/bin:/bin",
                "SECRETS_DIR": str(self.secrets),
                "CALLS": str(self.calls_file),
                "REFUSE": "",
                "FILES": "",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=120,
        )

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_first_time_the_servers_come_first_and_make_the_token(world: World) -> None:
    done = world.run()
    assert done.returncode == 0, done.stderr
    servers, init, everything = world.calls
    assert servers.startswith("stack deploy")
    assert "stack.yml" not in servers
    assert "sink init --admin-token-file /run/secrets/influxdb_admin_token" in init
    assert "--network etl_backend" in init
    # The token is named after it.
    assert "ETL__PIPELINE__REDIS_NAMESPACE=" in init
    assert "servers.yml" in everything
    assert "stack.yml etl " in everything
    # The new token is a secret, so the secrets have another version now.
    assert servers.split()[-1] != everything.split()[-1]
    world.run()
    assert world.calls == [everything]


def test_a_changed_secret_and_a_changed_configuration_get_names_of_their_own(
    world: World, tmp_path: Path
) -> None:
    config = tmp_path / "etl.yaml"
    config.write_text("a: 1")
    (world.secrets / "influxdb_token").write_text("token")

    def versions() -> list[str]:
        done = world.run(ETL_CONFIG_FILE=str(config), ETL_STACK="other")
        assert done.returncode == 0, done.stderr
        (call,) = world.calls
        assert " other " in call
        return call.split()[-1].split("/")

    before = versions()
    config.write_text("a: 2")
    changed = versions()
    assert [one == other for one, other in zip(before, changed, strict=True)] == [True, False, True]
    (world.secrets / "metrics_password").write_text("two")
    again = versions()
    assert [one == other for one, other in zip(changed, again, strict=True)] == [False, True, True]


def test_relative_paths_are_those_of_the_project(world: World, tmp_path: Path) -> None:
    """Docker takes a path in a stack's file for one beside that file: deploy/swarm."""
    (world.secrets / "influxdb_token").write_text("token")
    relative = os.path.relpath(world.secrets, PROJECT_ROOT)
    files = tmp_path / "files"
    receivers = "./deploy/grafana/provisioning/alerting/receivers.yaml"
    config = "config/etl.yaml"
    done = world.run(
        SECRETS_DIR=relative,
        ETL_CONFIG_FILE=config,
        GRAFANA_RECEIVERS_FILE=receivers,
        FILES=str(files),
    )
    assert done.returncode == 0, done.stderr
    given = files.read_text().split()
    assert all(map(os.path.isabs, given))
    wanted = [world.secrets, PROJECT_ROOT / config, PROJECT_ROOT / receivers]
    assert [Path(name).resolve() for name in given] == [path.resolve() for path in wanted]
    # One that is not given stays so: the stack's file has its own.
    world.run(FILES=str(files))
    assert files.read_text().split()[2] == "none"


def test_the_pipeline_alone(world: World) -> None:
    done = world.run("pipeline")
    assert done.returncode == 1
    assert done.stderr.startswith(f"deploy: {world.secrets}/influxdb_token: is not there")
    assert world.calls == []
    (world.secrets / "influxdb_token").write_text("token")
    assert world.run("pipeline").returncode == 0
    assert "servers.yml" not in world.calls[0]


def test_a_sink_that_refuses_ends_it(world: World) -> None:
    done = world.run(REFUSE="yes")
    assert done.returncode == 1
    assert done.stderr == "sink: refused\n"
    assert len(world.calls) == 2


@pytest.mark.parametrize("arguments", [["all"], ["pipeline", "more"]])
def test_called_wrongly(world: World, arguments: list[str]) -> None:
    done = world.run(*arguments)
    assert done.returncode == 1
    assert done.stderr == "deploy: usage: deploy/swarm/deploy [pipeline]\n"


def test_without_secrets(world: World, tmp_path: Path) -> None:
    done = world.run(SECRETS_DIR=str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stderr == (
        f"deploy: {tmp_path}/none: is not there: make it with `etlctl secrets init`\n"
    )
