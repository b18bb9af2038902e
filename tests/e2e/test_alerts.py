"""Every alert of monitoring/ fires in a real Prometheus for a real cause, and clears after it.

Causes that do not hinder each other happen at once; each alert is then a test of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.errors import StackError
from devtools import PROJECT_ROOT
from devtools.servers.binaries import Toolbox
from monitoring.catalogue import all_alerts
from monitoring.render.runbook import first_step, sections
from monitoring.thresholds import Thresholds
from tests.e2e.incidents.alert_world import QUICK, AlertWorld, Incident, alert_world
from tests.e2e.incidents.all_incidents import EPISODES, INCIDENTS

pytestmark = pytest.mark.timeout(600)

WATCHDOG = "EtlWatchdog"
# Of a source with replicas, which this one has not: what the alert goes by is shown there.
ELSEWHERE = {"EtlReplicaLacking": "tests/integration/sources/test_replicas.py"}
# (incident, alert) in the order in which they are lived through.
CASES = [(incident, alert) for incident in INCIDENTS for alert in incident.alerts]

FIRST_STEPS = sorted(
    {
        found[1]
        for section in sections()
        if (found := re.match(r"`(etlctl [^`]+)`", first_step(section)))
    }
)


@dataclass
class Story:
    """What came of an incident: which of its alerts fired, and which of them cleared."""

    fired: set[str] = field(default_factory=set)
    cleared: set[str] = field(default_factory=set)
    problem: str = ""


class Stories:
    """Each episode is lived through once, when the first of its alerts is asked for."""

    def __init__(self, world: AlertWorld) -> None:
        self._world = world
        self._lived: dict[str, Story] = {}

    def of(self, incident: Incident) -> Story:
        """The story of an incident."""
        if incident.name not in self._lived:
            self._live_through(next(episode for episode in EPISODES if incident in episode))
        return self._lived[incident.name]

    def _live_through(self, episode: tuple[Incident, ...]) -> None:
        world = self._world
        stories = [(incident, Story()) for incident in episode]
        self._lived |= {incident.name: story for incident, story in stories}
        names = ", ".join(incident.name for incident in episode)

        def none_fires() -> bool:
            """And who has fired and does not any more has cleared."""
            alerts = world.alerts()
            for incident, story in stories:
                firing = incident.found_in(alerts)
                story.cleared = incident.alerts.keys() - firing
            return all(story.cleared == incident.alerts.keys() for incident, story in stories)

        def all_fired() -> bool:
            world.alerts()
            for incident, story in stories:
                story.fired = incident.found_in(world.seen)
            return all(story.fired == incident.alerts.keys() for incident, story in stories)

        world.until(none_fires, f"what came before {names} is over")
        world.seen.clear()
        problems = []
        try:
            for incident in episode:
                incident.cause(world)
            world.until(all_fired, f"the alerts of {names}")
        except StackError as error:
            problems.append(str(error))
        finally:
            for incident in episode:
                incident.repair(world)
        try:
            world.until(none_fires, f"the end of the alerts of {names}")
        except StackError as error:
            problems.append(str(error))
        for _, story in stories:
            story.problem = "; ".join(problems)


@pytest.fixture(scope="module")
def world(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlertWorld]:
    with alert_world(tmp_path_factory.mktemp("alerts") / "run", toolbox) as started:
        yield started


@pytest.fixture(scope="module")
def stories(world: AlertWorld) -> Stories:
    return Stories(world)


def test_every_alert_has_a_cause() -> None:
    covered = {name for incident in INCIDENTS for name in incident.alerts}
    assert covered | {WATCHDOG, *ELSEWHERE} == {alert.name for alert in all_alerts(Thresholds())}


def test_nothing_but_the_watchdog_fires_while_all_is_well(world: AlertWorld) -> None:
    """For as long as any alert waits until it fires."""
    longest_seconds = max(alert.for_seconds for alert in all_alerts(QUICK))
    quiet_at: list[float] = []

    def quiet() -> bool:
        if [alert["alertname"] for alert in world.alerts()] != [WATCHDOG]:
            quiet_at.clear()
            return False
        quiet_at.append(world.now_seconds())
        return quiet_at[-1] - quiet_at[0] > longest_seconds

    world.until(quiet, "quiet, for as long as any alert waits")


@pytest.mark.parametrize("command", FIRST_STEPS)
def test_first_step_of_a_message_can_be_taken(
    world: AlertWorld, command: str, tmp_path: Path
) -> None:
    """The commands that docker is not needed for, as on-call gives them; 1: see what it says."""
    simulator, password = world.stack.simulator, tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text(world.stack.simulator_login[1])
    environ = {
        **os.environ,
        "ETL_CONFIG": str(world.stack.config_path),
        "SIMULATOR_URL": simulator.url,
        "SIMULATOR_PASSWORD_FILE": str(password),
    }
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=PROJECT_ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout and done.returncode in (0, 1), done.stderr


@pytest.mark.parametrize(
    ("incident", "alert"), CASES, ids=[f"{alert}: {incident.name}" for incident, alert in CASES]
)
def test_it_fires_and_clears(stories: Stories, incident: Incident, alert: str) -> None:
    story = stories.of(incident)
    assert alert in story.fired, story.problem
    assert alert in story.cleared, story.problem


def test_the_watchdog_fires_through_it_all(world: AlertWorld) -> None:
    assert world.fires(WATCHDOG, {})
