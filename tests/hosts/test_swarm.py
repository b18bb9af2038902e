"""The deployment on a Docker Swarm of three hosts, from deploy/swarm: its tasks come and go."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from devtools.hosts.commands import missing
from devtools.hosts.network import Network
from tests.compose import engine
from tests.hosts.swarm import HOSTS, STACK, Swarm

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1200)]

# Beside those of the other files, which may run at the same time.
NUMBER = 1


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    why = missing() or engine.missing()
    if why is None and shutil.which("dockerd") is None:
        why = "there is no dockerd here"
    if why is not None:
        pytest.skip(why)
    work_dir = tmp_path_factory.mktemp("swarm")
    with Network(HOSTS, number=NUMBER) as network, Swarm(work_dir, network) as swarm:
        yield swarm


def service_update(swarm: Swarm, service: str, *options: str) -> None:
    swarm.manager.docker("service", "update", "--detach", *options, f"{STACK}_{service}")


def test_replicas_are_added(swarm: Swarm) -> None:
    with swarm.proven():
        for stage in ("transformer", "loader"):
            swarm.manager.docker("service", "scale", "--detach", f"{STACK}_{stage}=2")
        swarm.wait_replicas()
        assert len(swarm.tasks("loader")) == 2
        assert swarm.hosts_of("loader") - {HOSTS[0]}, "they are spread"


def test_a_rolling_update_loses_nothing(swarm: Swarm) -> None:
    before = {task["ID"] for task in swarm.tasks("loader")}
    with swarm.proven():
        # The minute for which an update is watched is production's.
        service_update(swarm, "loader", "--env-add", "ETL_ROLLED=1", "--update-monitor", "3s")

        def state() -> str:
            form = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}"
            name = f"{STACK}_loader"
            return swarm.manager.docker("service", "inspect", "--format", form, name).strip()

        swarm.wait(lambda: state() == "completed", "the update is completed")
        after = {task["ID"] for task in swarm.tasks("loader")}
        assert len(after) == 2
        assert not before & after
