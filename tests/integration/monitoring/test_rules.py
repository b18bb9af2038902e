"""The rules in a real Prometheus, on metrics of a pipeline in good health, with two replicas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devtools.servers.binaries import Toolbox
from devtools.servers.prometheus_server import PrometheusServer, ScrapeJob
from devtools.servers.waiting import wait_until
from monitoring.catalogue import all_alerts, all_recordings, groups
from monitoring.render.prometheus_rules import rule_file
from monitoring.render.yaml_text import dump
from monitoring.thresholds import PROMETHEUS, TEST_APP, Thresholds
from tests.doubles.healthy_metrics import REPLICAS, Targets
from tests.unit.monitoring.test_metrics import EXPRESSIONS

SCRAPE_SECONDS = 0.5
# Times divided by 180. What is compared with seconds of the process itself stays as it is; what is
# told for an hour is told for some seconds.
T = replace(
    Thresholds().quicker(180, scrape_interval_seconds=SCRAPE_SECONDS),
    no_success_seconds=600,
    processing_seconds=10,
    freshness_seconds=180,
    oldest_entry_seconds=300,
    backlog_level_seconds=10,
    deleted_window_seconds=8,
    gap_window_seconds=8,
)
WAIT_SECONDS = 45


def write_rules(folder: Path, t: Thresholds) -> str:
    """Rule files with other times; the glob that finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, its_groups in groups(t).items():
        (folder / f"{name}.yml").write_text(dump(rule_file(its_groups), "For a test."))
    return str(folder / "*.yml")


@pytest.fixture(scope="module")
def targets() -> Iterator[Targets]:
    served = Targets({**REPLICAS, TEST_APP: 1})
    yield served
    served.close()


@pytest.fixture(scope="module")
def prometheus(
    targets: Targets, toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory, log_dir: Path
) -> Iterator[PrometheusServer]:
    work_dir = tmp_path_factory.mktemp("rules")
    server = PrometheusServer(
        toolbox,
        work_dir / "prometheus",
        name="prometheus-rules",
        log_dir=log_dir,
        jobs=[ScrapeJob(job) for job in (*targets.addresses, PROMETHEUS)],
        scrape_interval_seconds=SCRAPE_SECONDS,
        settings={"rule_files": [write_rules(work_dir / "rules", T)]},
    )
    with server:
        for job, addresses in targets.addresses.items():
            server.set_targets(job, addresses)
        server.set_targets(PROMETHEUS, [f"127.0.0.1:{server.port}"])
        yield server


def rules(prometheus: PrometheusServer) -> list[dict[str, Any]]:
    return [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]


def firing(prometheus: PrometheusServer) -> set[str]:
    return {
        sample["metric"]["alertname"] for sample in prometheus.query('ALERTS{alertstate="firing"}')
    }


def test_all_rules_are_evaluated_without_an_error(prometheus: PrometheusServer) -> None:
    """Two replicas of each stage: an expression that matches them wrongly would fail here."""

    def evaluated() -> list[dict[str, Any]] | None:
        found = rules(prometheus)
        return found if all(rule["health"] != "unknown" for rule in found) else None

    up = sum(REPLICAS.values()) + 2
    wait_until(
        lambda: len(prometheus.query("up == 1")) == up,
        deadline_seconds=WAIT_SECONDS,
        what="all targets up",
    )
    found = wait_until(evaluated, deadline_seconds=WAIT_SECONDS, what="all rules evaluated")
    assert {rule["name"] for rule in found} == {
        *(alert.name for alert in all_alerts(T)),
        *(recording.record for recording in all_recordings(T)),
    }
    assert [rule["lastError"] for rule in found if rule["health"] != "ok"] == []


def test_every_recording_has_a_value(prometheus: PrometheusServer) -> None:
    def without() -> list[str]:
        return [one.record for one in all_recordings(T) if not prometheus.query(one.record)]

    wait_until(lambda: not without(), deadline_seconds=WAIT_SECONDS, what="every recording")


@pytest.mark.parametrize("alert", [alert.name for alert in all_alerts(T)])
def test_every_query_has_a_value_while_all_is_well(
    prometheus: PrometheusServer, alert: str
) -> None:
    """Without a comparison inside, so that Grafana sees a healthy value and not missing data."""
    query = next(one.query for one in all_alerts(T) if one.name == alert)
    wait_until(
        lambda: prometheus.query(query), deadline_seconds=WAIT_SECONDS, what=f"a value of {alert}"
    )


def test_nothing_but_the_watchdog_fires_while_all_is_well(prometheus: PrometheusServer) -> None:
    longest = max(alert.for_seconds for alert in all_alerts(T))

    def now() -> float:
        return float(prometheus.query("vector(time())")[0]["value"][1])

    began = now()
    wait_until(
        lambda: now() > began + longest + 2 and "EtlWatchdog" in firing(prometheus),
        deadline_seconds=WAIT_SECONDS,
        what="time for every alert to fire",
    )
    assert firing(prometheus) == {"EtlWatchdog"}


# Rightly empty here: nothing is down.
_EMPTY = {"etl-monitoring Health status 1"}


@pytest.mark.parametrize("where", [where for where in EXPRESSIONS if where.startswith("etl-")])
def test_every_panel_has_data(prometheus: PrometheusServer, where: str) -> None:
    expr = EXPRESSIONS[where].replace("[1m]", "[5s]")
    if where in _EMPTY:
        assert prometheus.query(expr) == []
        return
    wait_until(lambda: prometheus.query(expr), deadline_seconds=WAIT_SECONDS, what=where)
