"""Counting and logging through one call, and the nine metrics that age by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from common.runtime.metrics_table import METRICS
from common.runtime.telemetry import RECENT_SECONDS, Telemetry


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Log:
    """Takes the place of a log of events."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.lines.append((level, event, fields))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def telemetry(clock: Clock, log: Log) -> Telemetry:
    return Telemetry("loader", CollectorRegistry(), clock, log)


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(name, labels)


def test_an_event_is_one_line_and_one_count(telemetry: Telemetry, log: Log) -> None:
    telemetry.emit("dead_lettered", stage="loader", reason="unparsable", entry="7-0", samples=3)
    fields = {"stage": "loader", "reason": "unparsable", "entry": "7-0", "samples": 3}
    assert log.lines == [("error", "dead_lettered", fields)]
    found = value(telemetry, "etl_dead_letters_total", stage="loader", reason="unparsable")
    assert found == 1


def test_an_event_can_count_many(telemetry: Telemetry, log: Log) -> None:
    telemetry.emit("sink_limit_reached", 40, query="q")
    assert log.lines == [("error", "sink_limit_reached", {"query": "q", "amount": 40})]
    assert value(telemetry, "etl_sink_limited_lines_total") == 40


def test_an_event_without_a_metric_is_only_logged(telemetry: Telemetry, log: Log) -> None:
    before = generate_latest(telemetry.registry)
    telemetry.emit("sink_resumed", held_seconds=2)
    assert log.lines == [("info", "sink_resumed", {"held_seconds": 2})]
    assert generate_latest(telemetry.registry) == before


@pytest.mark.parametrize(
    "misuse",
    [
        lambda t: t.emit("no_such_event"),
        lambda t: t.emit("dead_lettered", stage="loader"),
        lambda t: t.inc("etl_no_such_total"),
        lambda t: t.inc("etl_dropped_samples_total"),
        lambda t: t.inc("etl_dropped_samples_total", 1, reason="nan", query="q"),
        lambda t: t.inc("etl_circuit_state"),
        lambda t: t.set("etl_records_total", 1),
        lambda t: t.observe("etl_records_total", 1),
    ],
)
def test_a_name_that_is_not_in_the_tables_is_a_defect(telemetry: Telemetry, misuse: Any) -> None:
    before = generate_latest(telemetry.registry)
    with pytest.raises(KeyError):
        misuse(telemetry)
    assert generate_latest(telemetry.registry) == before


def test_an_event_that_cannot_be_counted_is_not_logged_either(
    telemetry: Telemetry, log: Log
) -> None:
    with pytest.raises(KeyError):
        telemetry.emit("dead_lettered", stage="loader")
    assert log.lines == []


def test_a_service_exports_its_own_metrics_from_the_start() -> None:
    for service in ("extractor", "transformer", "loader"):
        text = generate_latest(Telemetry(service, CollectorRegistry()).registry).decode()
        exported = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
        wanted = {s.name for s in METRICS if service in s.services and s.eager}
        assert exported == wanted


def test_a_metric_of_the_ledger_appears_when_it_is_first_read() -> None:
    """A 0 that nobody has read would say that nothing was lost."""
    telemetry = Telemetry("extractor", CollectorRegistry())
    assert value(telemetry, "etl_ledger_imbalance_samples") is None
    telemetry.set("etl_ledger_imbalance_samples", 0)
    assert value(telemetry, "etl_ledger_imbalance_samples") == 0


def test_everything_is_valid_openmetrics(telemetry: Telemetry) -> None:
    for spec in METRICS:
        labels = dict.fromkeys(spec.labels, 'odd "value"\n\\ é')
        if spec.kind == "counter":
            telemetry.inc(spec.name, 2, **labels)
        elif spec.kind == "gauge":
            telemetry.set(spec.name, 2, **labels)
        else:
            telemetry.observe(spec.name, 2, **labels)
    text = generate_openmetrics(telemetry.registry).decode()  # type: ignore[no-untyped-call]
    parsed = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    families = {family.name for family in parsed}
    assert families == {spec.name.removesuffix("_total") for spec in METRICS}


def test_no_series_tells_when_a_counter_was_made(telemetry: Telemetry) -> None:
    telemetry.batch_failed("TimeoutError")
    assert b"_created" not in generate_latest(telemetry.registry)


def test_batches_are_counted(telemetry: Telemetry) -> None:
    telemetry.batch_succeeded(500, 0.25)
    telemetry.batch_succeeded(700, 0.75)
    telemetry.batch_failed("SinkError")
    assert value(telemetry, "etl_records_total") == 1200
    assert value(telemetry, "etl_files_total") == 2
    assert value(telemetry, "etl_failures_total") == 1
    assert value(telemetry, "etl_errors_by_type_total", error_type="SinkError") == 1
    assert value(telemetry, "etl_avg_processing_time_seconds") == 0.5


def test_time_since_the_last_success_grows_by_itself(telemetry: Telemetry, clock: Clock) -> None:
    clock.now += 7
    assert value(telemetry, "etl_seconds_since_last_success") == 7
    telemetry.batch_succeeded(1, 0.1)
    assert value(telemetry, "etl_seconds_since_last_success") == 0
    telemetry.batch_failed("SinkError")
    clock.now += 600
    assert value(telemetry, "etl_seconds_since_last_success") == 600
    assert value(telemetry, "etl_uptime_seconds") == 607


def test_rate_covers_the_last_minute_and_falls_to_nothing(
    telemetry: Telemetry, clock: Clock
) -> None:
    clock.now += 10
    telemetry.batch_succeeded(300, 0.1)
    assert value(telemetry, "etl_current_rate_records_per_second") == 30  # 10 seconds old
    clock.now += 290
    assert value(telemetry, "etl_current_rate_records_per_second") == 0
    for _ in range(RECENT_SECONDS):
        clock.now += 1
        telemetry.batch_succeeded(50, 0.1)
    assert value(telemetry, "etl_current_rate_records_per_second") == 50
    clock.now += RECENT_SECONDS / 2
    assert value(telemetry, "etl_current_rate_records_per_second") == pytest.approx(25, abs=1)


def test_average_stays_at_the_last_known_when_nothing_runs(
    telemetry: Telemetry, clock: Clock
) -> None:
    assert value(telemetry, "etl_avg_processing_time_seconds") == 0
    telemetry.batch_succeeded(1, 3.0)
    clock.now += 10 * RECENT_SECONDS
    assert value(telemetry, "etl_avg_processing_time_seconds") == 3.0
    telemetry.batch_succeeded(1, 1.0)
    assert value(telemetry, "etl_avg_processing_time_seconds") == 1.0


def test_health_is_asked_at_each_scrape(telemetry: Telemetry) -> None:
    answers = iter((True, False, True))
    telemetry.watch_health(lambda: next(answers))
    assert [value(telemetry, "etl_health_status") for _ in range(3)] == [1, 0, 1]


def test_values_are_those_of_a_scrape_without_labels() -> None:
    telemetry = Telemetry("loader", CollectorRegistry())
    telemetry.batch_succeeded(5, 0.5)
    telemetry.observe("etl_sink_post_duration_seconds", 0.25)
    names = ["etl_records_total", "etl_sink_post_duration_seconds_sum"]
    # One has labels, the other is none of the loader's.
    others = ["etl_errors_by_type_total", "etl_windows_open"]
    assert telemetry.values([*names, *others]) == dict(zip(names, (5.0, 0.25), strict=True))
