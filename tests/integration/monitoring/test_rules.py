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
from monitoring.thresholds import ETL_METRICS, PROMETHEUS, TEST_APP, Thresholds
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
        set_targets(server, targets)
        yield server


def set_targets(server: PrometheusServer, targets: Targets) -> None:
    for job, addresses in targets.addresses.items():
        server.set_targets(job, addresses)
    server.set_targets(PROMETHEUS, [f"127.0.0.1:{server.port}"])


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


# Rightly empty here: nothing has failed, so there is no alert to list.
_EMPTY = {"etl-pipeline Firing alerts 0"}


@pytest.mark.parametrize("where", [where for where in EXPRESSIONS if where.startswith("etl-")])
def test_every_panel_has_data(prometheus: PrometheusServer, where: str) -> None:
    expr = EXPRESSIONS[where].replace("[1m]", "[5s]")
    if where in _EMPTY:
        assert prometheus.query(expr) == []
        return
    wait_until(lambda: prometheus.query(expr), deadline_seconds=WAIT_SECONDS, what=where)


# How each fault shows in the metrics, and the alerts that it should fire.
_ILL_VALUES = {
    "etl_health_status": 0.0,
    "etl_log_up": 0.0,
    "etl_seconds_since_last_success": 3600.0,
    "etl_current_rate_records_per_second": 1.0,
    "etl_avg_processing_time_seconds": 60.0,
    "etl_query_failures_in_a_row": 20.0,
    "etl_stream_entries": 5.0,
    "etl_stream_oldest_entry_age_seconds": 900.0,
    "etl_dead_letters_kept": 3.0,
    "etl_ledger_imbalance_samples": 7.0,
    "etl_gaps_declared": 1.0,
    "etl_sink_paused": 1.0,
    "etl_circuit_state": 2.0,
    "etl_sink_rejected_share": 0.4,
    "etl_redis_up": 0.0,
    "etl_redis_memory_used_bytes": 9.5e8,
    "etl_loaded_watermark_timestamp_seconds": 1e9,
}
_ILL_RATES = {
    "etl_files_total": 0.0,
    "etl_failures_total": 10.0,
    "etl_deleted_pending_entries_total": 1.0,
    "etl_circuit_changes_total": 2.0,
    "etl_dropped_samples_total": 5.0,
    "etl_backlog_seconds": 5.0,
}
# Paused by back-pressure, an extractor is not stalled; both are tried, one after the other.
_BACK_PRESSURE = {"etl_backpressure_active": 1.0}
# Its windows are still minutes long, so it would be minutes until it ends.
_SLOW = "EtlFreshnessBudgetBurningSlowly"


@pytest.mark.timeout(180)
def test_every_alert_fires_and_clears(prometheus: PrometheusServer, targets: Targets) -> None:
    names = {alert.name for alert in all_alerts(T)}
    unseen = set(names)

    def seen(expected: set[str]) -> bool:
        unseen.difference_update(firing(prometheus))
        return not expected & unseen

    down = {"EtlStageDown", "EtlMetricsEndpointUnavailable"}
    targets.values.update(_ILL_VALUES)
    targets.rates.update(_ILL_RATES)
    expected = names - down - {"EtlBackPressureLasting"}
    wait_until(lambda: seen(expected), deadline_seconds=60, what="the alerts of all faults")
    targets.values.update(_BACK_PRESSURE)
    wait_until(
        lambda: seen({"EtlBackPressureLasting"}), deadline_seconds=60, what="lasting back-pressure"
    )
    for job in (ETL_METRICS, "loader"):
        prometheus.set_targets(job, [])
    wait_until(lambda: seen(down), deadline_seconds=60, what="the alerts of what is missing")
    assert unseen == set()

    targets.recover()
    set_targets(prometheus, targets)
    wait_until(
        lambda: firing(prometheus) - {_SLOW} == {"EtlWatchdog"},
        deadline_seconds=90,
        what="all alerts cleared",
    )
