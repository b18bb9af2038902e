"""The deployment on a Docker Swarm of three hosts, from deploy/swarm: its tasks come and go."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest

from devtools.hosts.commands import missing
from devtools.hosts.network import Network
from tests.compose import engine
from tests.hosts.swarm import DATA_HOST, HOSTS, STACK, Swarm

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1200)]

# Beside those of the other files, which may run at the same time.
NUMBER = 1
# Missed heartbeats and a container's grace are within it, also where engines hardly get a core.
PATIENCE_SECONDS = 300.0


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


def test_replicas_are_added(swarm: Swarm) -> None:
    with swarm.proven():
        for stage in ("transformer", "loader"):
            swarm.manager.docker("service", "scale", "--detach", f"{STACK}_{stage}=2")
        swarm.wait_replicas()
        assert len(swarm.tasks("loader")) == 2
        assert len(swarm.hosts_of("loader")) == 2, "they are spread"


def test_a_rolling_update_loses_nothing(swarm: Swarm) -> None:
    before = {task["ID"] for task in swarm.tasks("loader")}
    with swarm.proven():
        swarm.update("loader", "--env-add", "ETL_ROLLED=1")
        after = {task["ID"] for task in swarm.tasks("loader")}
        assert len(after) == 2
        assert not before & after


def test_a_node_that_is_drained_loses_nothing(swarm: Swarm) -> None:
    host = swarm.host_with("loader")
    with swarm.proven():
        swarm.set_availability(host, "drain")
        try:
            swarm.wait(lambda: not swarm.containers_on(host), "the node is empty", PATIENCE_SECONDS)
            swarm.wait_replicas()
            assert host not in swarm.hosts_of("loader")
            swarm.flows()
        finally:
            swarm.set_availability(host, "active")


def test_a_node_that_is_cut_off_is_done_without(swarm: Swarm) -> None:
    swarm.lead_beside_the_data()
    (host,) = set(HOSTS) - {DATA_HOST, swarm.leader()}
    cut_off(swarm, host)


def test_the_manager_that_leads_is_cut_off_and_done_without(swarm: Swarm) -> None:
    """The others choose one of them, which then waits for what it does not hear."""
    swarm.lead_beside_the_data()
    host = swarm.leader()
    cut_off(swarm, host)
    assert swarm.leader() != host


def cut_off(swarm: Swarm, host: str) -> None:
    """What it runs goes on there: one more loader of the same entries, which reaches nobody."""
    # What was drained or cut off stays empty until tasks are placed anew.
    swarm.place_on(host, "loader")
    replicas, loaders = len(swarm.tasks("loader")), swarm.containers_on(host, "loader")
    with swarm.proven():
        began = time.monotonic()
        swarm.network.cut(host)
        try:
            swarm.wait(lambda: swarm.leader() != host, "another leads", PATIENCE_SECONDS)
            print(f"{swarm.leader()} leads {time.monotonic() - began:.1f} s after the cut")
            swarm.wait(
                lambda: (
                    host not in swarm.hosts_of("loader") and len(swarm.tasks("loader")) == replicas
                ),
                "its loader runs elsewhere",
                PATIENCE_SECONDS,
            )
            print(f"its loader runs elsewhere {time.monotonic() - began:.1f} s after the cut")
            swarm.flows()
            print(f"samples are loaded {time.monotonic() - began:.1f} s after the cut")
            assert loaders <= swarm.containers_on(host, "loader"), "they go on there"
        finally:
            swarm.network.heal()
        healed = time.monotonic()
        swarm.wait(lambda: swarm.is_ready(host), "the node is back", PATIENCE_SECONDS)
        swarm.wait(
            lambda: not loaders & swarm.containers_on(host, "loader"),
            "the Swarm has ended what runs elsewhere now",
            PATIENCE_SECONDS,
        )
        print(f"what it ran is ended {time.monotonic() - healed:.1f} s after the heal")
