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

# Each beside another query of its panel that has data, so that no panel says "No data".
RIGHTLY_EMPTY: dict[str, str] = {
    "etl-monitoring Health status 1": "no target of the monitoring is down",
    "etl-pipeline Dead letters 2": "there are none, by stage or reason",
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
    for where in RIGHTLY_EMPTY:
        panel = where.rpartition(" ")[0]
        assert [other for other in PANELS.keys() - RIGHTLY_EMPTY.keys() if other.startswith(panel)]


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
