"""Every panel, every recording rule and every alert's query has data on a stack that works.

Real servers and services; what a healthy pipeline rightly leaves empty is named, with the reason,
and must then be empty.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devtools.servers.binaries import Toolbox
from monitoring.catalogue import all_alerts, all_recordings
from monitoring.model import Alert, Recording
from tests.e2e.alert_world import PATIENT, QUICK, AlertWorld, alert_world
from tests.unit.monitoring.test_metrics import EXPRESSIONS

pytestmark = pytest.mark.timeout(120)

# A counter with labels has no series before its first event, and none of these has happened.
RIGHTLY_EMPTY: dict[str, str] = {
    "etl-pipeline Firing alerts 0": "nothing fires but the watchdog, which it leaves out",
    "etl-pipeline Entries retried and claimed 0": "no entry was retried",
    "etl-pipeline Entries retried and claimed 1": "no worker has died",
    "etl-pipeline Entries retried and claimed 2": "no lease was lost",
    "etl-pipeline Entries retried and claimed 3": "no settlement was refused",
    "etl-pipeline Entries retried and claimed 4": "no stage has a defect",
    "etl-pipeline Windows 1": "no answer was too large",
    "etl-pipeline Windows 2": "no window was given back",
    "etl-pipeline Windows 3": "no sample came late",
    "etl-pipeline Windows 4": "no commit was refused",
    "etl-pipeline Failed attempts by type 0": "no attempt has failed",
    "etl-pipeline Dead letters 2": "there are none, by stage or reason",
    "etl-pipeline Retention unknown 0": "the sink is no InfluxDB 3",
    "etl-pipeline Recounts given up 0": "no recount was given up",
    "etl-pipeline Dead letters written 0": "none was written",
    "etl-pipeline Deleted pending entries 0": "nobody deletes entries",
    "etl-pipeline Sink failures and pauses 0": "no post has failed",
    "etl-pipeline Sink failures and pauses 1": "the sink refuses nothing",
    "etl-pipeline Ranges repaired 0": "nothing is missing in the sink",
    "etl-pipeline Unproven time 0": "all was compared before the source deleted it",
    "etl-pipeline Time proven by seals 0": "all was compared before the source deleted it",
}


# Of the dashboards; rates over what holds several scrapes here, ranges over what has passed.
PANELS = {
    where: expr.replace("[1m]", "[5s]").replace("[1h]", "[1m]")
    for where, expr in EXPRESSIONS.items()
    if where.startswith("etl-")
}


# So that something is dropped for certain.
DROPS = {"source_labels": ["__name__"], "regex": "scrape_samples_scraped", "action": "drop"}


@pytest.fixture(scope="module")
def world(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlertWorld]:
    config = {**PATIENT, "transform": {"relabel": [DROPS]}}
    with alert_world(tmp_path_factory.mktemp("panels") / "run", toolbox, config) as started:
        # With a limit, as in production: its panel and its alert compare with it.
        started.redis.config_set("maxmemory", 1 << 30)
        yield started


def test_only_panels_that_exist_are_rightly_empty() -> None:
    assert PANELS.keys() >= RIGHTLY_EMPTY.keys()


@pytest.mark.parametrize("where", [where for where in PANELS if where not in RIGHTLY_EMPTY])
def test_a_panel_has_data(world: AlertWorld, where: str) -> None:
    world.until(lambda: world.stack.prometheus.query(PANELS[where]), f"data of {where}")


@pytest.mark.parametrize("where", RIGHTLY_EMPTY)
def test_a_rightly_empty_panel_is_empty(world: AlertWorld, where: str) -> None:
    world.until(
        lambda: not world.stack.prometheus.query(PANELS[where]),
        f"{where} is empty, because {RIGHTLY_EMPTY[where]}",
    )


@pytest.mark.parametrize("recording", all_recordings(QUICK), ids=lambda one: one.record)
def test_a_recording_has_data(world: AlertWorld, recording: Recording) -> None:
    world.until(
        lambda: world.stack.prometheus.query(recording.record), f"data of {recording.record}"
    )


@pytest.mark.parametrize("alert", all_alerts(QUICK), ids=lambda one: one.name)
def test_an_alerts_query_has_a_value_while_all_is_well(world: AlertWorld, alert: Alert) -> None:
    """Grafana takes an empty answer for missing data."""
    world.until(lambda: world.stack.prometheus.query(alert.query), f"a value of {alert.name}")
