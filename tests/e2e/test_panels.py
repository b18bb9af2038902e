"""Every panel, every recording rule and every alert's query has data on a stack that works.

Real servers and services; what a healthy pipeline rightly leaves empty is named, with the reason,
and must then be empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from devtools.servers.binaries import Toolbox
from monitoring.catalogue import all_alerts, all_recordings
from monitoring.model import Alert, Recording
from tests.e2e.incidents.alert_world import PATIENT, QUICK, AlertWorld, Labels, alert_world
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


# --- what goes wrong is seen on a panel, from the first time on ----------------------------------


def shows(world: AlertWorld, where: str, comparison: str) -> None:
    """Wait until a line of the panel is like this."""
    expr = f"({PANELS[where]}) {comparison}"
    world.until(lambda: world.stack.prometheus.query(expr), f"{where} {comparison}")


def test_a_panel_shows_the_first_failure_of_a_window(world: AlertWorld) -> None:
    failures = 'sum(etl_query_failures_total{error_type="SourceUnavailable"})'
    world.until(lambda: world.value(failures) is not None, "a count of what has not failed yet")
    before = world.value(failures)
    assert before is not None
    # Until a window met it: the verifier asks there, too.
    world.source.fails = True
    world.until(lambda: (world.value(failures) or 0) > before, "a window that fails")
    world.source.fails = False
    for panel in ("etl-pipeline Failed attempts by type 0", "etl-pipeline Extractor: failures 0"):
        shows(world, panel, "> 0")


def test_a_panel_shows_the_first_post_that_the_sink_refuses(world: AlertWorld) -> None:
    busy = 'sum(etl_sink_posts_total{response="busy"})'
    world.until(lambda: world.value(busy) is not None, "a count of what was not responded yet")
    before = world.value(busy)
    assert before is not None
    world.sink_answers(503)
    world.until(lambda: (world.value(busy) or 0) > before, "a post that is refused")
    world.sink_heals()
    for panel, label in (("Sink responses 0", "response"), ("Sink failures and pauses 0", "cause")):
        where = f"etl-pipeline {panel}"
        world.until(partial(lines, world, where, label, "busy"), where)


def lines(world: AlertWorld, where: str, label: str, value: str) -> list[Labels]:
    """Labels of the panel's lines above 0 that have this one."""
    found = [one["metric"] for one in world.stack.prometheus.query(f"({PANELS[where]}) > 0")]
    return [labels for labels in found if labels.get(label) == value]


def test_failures_of_the_process_are_counted_and_judged(world: AlertWorld) -> None:
    """The judged are the latest: they are past the alert's limit once it fires."""
    counted = "etl-monitoring Total failures 0"
    process = '{job="etl-metrics"}'
    before = world.value(f"sum(etl_failures_total{process})") or 0
    world.scenario("failure-burst")
    shows(world, counted, f"> {before}")
    shows(world, "etl-monitoring Total failures 1", f"> {QUICK.failures}")
    world.scenario("recover")


def test_time_since_the_last_success_grows_in_a_stall_and_ends_with_it(world: AlertWorld) -> None:
    since = "etl-monitoring Time since last success 0"
    world.scenario("stall")
    shows(world, since, f"> {QUICK.no_success_seconds}")
    shows(world, "etl-monitoring Time since last success 1", f"> {QUICK.no_success_seconds}")
    world.scenario("recover")
    expr = f"({PANELS[since]}) < {QUICK.no_success_seconds}"
    jobs = f'max by (job) ({expr}) and on (job) up{{job="etl-metrics"}}'
    world.until(lambda: world.stack.prometheus.query(jobs), "a success")
