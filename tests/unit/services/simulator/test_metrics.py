"""The nine metrics of the simulated ETL process."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from common.runtime.etl_log import ERROR_TYPES
from common.runtime.metrics_table import STANDARD_METRICS
from services.simulator.collector import EtlCollector
from tests.support.simulator_world import World, only, pace


@pytest.fixture
def world() -> World:
    return World(pace=pace(failures_per_minute=10))


@pytest.fixture
def registry(world: World) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(EtlCollector(world.process.figures, lambda: world.process.healthy))
    return registry


def test_exactly_the_nine_with_their_types_from_the_start(registry: CollectorRegistry) -> None:
    families = {family.name: family for family in registry.collect()}
    assert set(families) == {spec.name.removesuffix("_total") for spec in STANDARD_METRICS}
    for spec in STANDARD_METRICS:
        family = families[spec.name.removesuffix("_total")]
        assert family.type == spec.kind
        assert family.documentation == spec.help
        assert {sample.name for sample in family.samples} == {spec.name}
    errors = families["etl_errors_by_type"].samples
    assert [sample.labels for sample in errors] == [{"error_type": name} for name in ERROR_TYPES]


def test_they_say_what_the_log_says(world: World, registry: CollectorRegistry) -> None:
    world.run(600)
    value = registry.get_sample_value
    line = world.lines[-1]
    assert value("etl_records_total") == line["records_total"] > 0
    assert value("etl_files_total") == line["files_total"]
    assert value("etl_failures_total") == line["failures_total"]
    assert value("etl_uptime_seconds") == 600
    assert value("etl_health_status") == 1
    success = only(world.lines, "file_processed")[-1]["uptime_seconds"]
    assert value("etl_seconds_since_last_success") == pytest.approx(600 - success)
    assert value("etl_avg_processing_time_seconds") == pytest.approx(
        line["avg_processing_time_seconds"], rel=0.5
    )
    for error_type, count in line["errors_by_type"].items():
        assert value("etl_errors_by_type_total", {"error_type": error_type}) == count > 0


def test_each_scenario_shows(world: World, registry: CollectorRegistry) -> None:
    world.run(120)
    world.process.switch("outage")
    world.run(120)
    assert registry.get_sample_value("etl_health_status") == 0
    assert registry.get_sample_value("etl_current_rate_records_per_second") == 0
    assert (registry.get_sample_value("etl_seconds_since_last_success") or 0) > 100
    world.process.switch("slow")
    world.run(600)
    assert registry.get_sample_value("etl_health_status") == 1
    assert (registry.get_sample_value("etl_avg_processing_time_seconds") or 0) > 7
