"""The ETL process' state: totals over its lives, health and ages, by clocks of the test's own."""

from __future__ import annotations

from typing import Any

import pytest

from services.exporter.lines import ProcessLine, parse
from services.exporter.process import MAX_RUNS, ProcessState
from services.exporter.series import Page
from tests.support.etl_log_lines import line


class Clocks:
    """A steady clock and the wall's, 1,000,000 seconds apart."""

    def __init__(self) -> None:
        self.now = 50.0

    def steady(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + 1_000_000


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def state(clocks: Clocks) -> ProcessState:
    return ProcessState(30, clock=clocks.steady, wall_clock=clocks.wall)


def read(sequence: int, at: float = 0.0, **more: Any) -> ProcessLine:
    return parse(line(sequence, 1_000_050 + at, **more))


def values(state: ProcessState) -> dict[str, float]:
    page = Page()
    state.publish(page)
    return {
        "|".join((name, *labels)): value
        for name, series in page.values.items()
        for labels, value in series.items()
    }


def value(state: ProcessState, name: str) -> float | None:
    return values(state).get(f"etl_{name}")


def test_the_standard_metrics(state: ProcessState) -> None:
    state.learn(read(7, failures=2), live=True)
    found = values(state)
    assert {
        name.removeprefix("etl_"): number
        for name, number in found.items()
        if "errors_by_type" not in name
    } == {
        "process_runs_total": 1,
        "log_lines_missed_total": 0,
        "records_total": 70,
        "files_total": 7,
        "failures_total": 2,
        "health_status": 1,
        "uptime_seconds": 7,
        "current_rate_records_per_second": 9.5,
        "avg_processing_time_seconds": 1.5,
        "seconds_since_last_success": 2,
    }
    errors = {name: number for name, number in found.items() if "errors_by_type" in name}
    assert len(errors) == 5
    assert errors["etl_errors_by_type_total|connection_timeout"] == 2


def test_totals_go_on_over_restarts_of_the_process(state: ProcessState) -> None:
    seen = []
    for run_id in ("a", "b", "c"):
        for sequence in (1, 2, 3):
            state.learn(read(sequence, run_id=run_id, failures=sequence), live=True)
            seen.append(value(state, "records_total"))
    assert seen == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert value(state, "failures_total") == 9
    assert value(state, "process_runs_total") == 3


def test_a_known_line_changes_nothing(state: ProcessState) -> None:
    assert state.learn(read(1), live=True)
    assert state.learn(read(2), live=True)
    before = values(state)
    assert not state.learn(read(1), live=True)
    assert not state.learn(read(2, records=999), live=True)
    assert values(state) == before


def test_a_missed_line_is_healed_by_the_next_and_counted(state: ProcessState) -> None:
    state.learn(read(1), live=True)
    state.learn(read(5), live=True)
    state.learn(read(3, run_id="b"), live=True)
    assert value(state, "records_total") == 80
    assert value(state, "log_lines_missed_total") == 3 + 2


def test_lines_before_the_log_begins_are_not_missed(state: ProcessState) -> None:
    state.learn(read(400), live=False)
    assert value(state, "records_total") == 4000
    assert value(state, "log_lines_missed_total") == 0


def test_no_line_lowers_a_counter(state: ProcessState) -> None:
    state.learn(read(1, records=500, failures=3), live=True)
    state.learn(read(2, records=20, failures=1), live=True)
    assert value(state, "records_total") == 500
    assert value(state, "errors_by_type_total|connection_timeout") == 3


def test_only_the_sum_is_kept_of_old_lives(state: ProcessState) -> None:
    for number in range(MAX_RUNS + 50):
        state.learn(read(1, run_id=f"run{number}"), live=True)
    assert value(state, "records_total") == 10 * (MAX_RUNS + 50)
    assert value(state, "process_runs_total") == MAX_RUNS + 50


def test_health_is_what_the_process_says(state: ProcessState) -> None:
    state.learn(read(1), live=True)
    assert value(state, "health_status") == 1
    state.learn(read(2, healthy=False), live=True)
    assert value(state, "health_status") == 0
    assert value(state, "uptime_seconds") == 2
    state.learn(read(3), live=True)
    assert value(state, "health_status") == 1


def test_a_silent_process_is_unhealthy_and_does_nothing(
    state: ProcessState, clocks: Clocks
) -> None:
    state.learn(read(9), live=True)
    clocks.now += 30
    assert value(state, "health_status") == 1
    assert value(state, "uptime_seconds") == 39
    assert value(state, "seconds_since_last_success") == 32
    clocks.now += 1
    assert value(state, "health_status") == 0
    assert value(state, "uptime_seconds") == 0
    assert value(state, "current_rate_records_per_second") == 0
    assert value(state, "avg_processing_time_seconds") == 1.5
    assert value(state, "seconds_since_last_success") == 33
    assert value(state, "records_total") == 90


def test_slow_heartbeats_are_waited_for(state: ProcessState, clocks: Clocks) -> None:
    state.learn(read(1, heartbeat_seconds=60.0), live=True)
    clocks.now += 180
    assert value(state, "health_status") == 1
    clocks.now += 1
    assert value(state, "health_status") == 0


def test_a_stopped_process_is_down_at_once(state: ProcessState) -> None:
    state.learn(read(1), live=True)
    state.learn(read(2, event="process_stopped"), live=True)
    assert value(state, "health_status") == 0
    assert value(state, "uptime_seconds") == 0
    state.learn(read(1, run_id="next", event="process_started"), live=True)
    assert value(state, "health_status") == 1


def test_before_a_line_only_the_health_is_known_and_only_after_a_while(
    state: ProcessState, clocks: Clocks
) -> None:
    counted = {"etl_process_runs_total": 0.0, "etl_log_lines_missed_total": 0.0}
    assert values(state) == counted
    clocks.now += 31
    assert values(state) == counted | {"etl_health_status": 0}


def test_the_age_of_an_old_log_is_told_by_the_wall_clock(
    state: ProcessState, clocks: Clocks
) -> None:
    """We were restarted long after the process had died."""
    state.learn(read(1, at=-3600), live=False)
    assert value(state, "health_status") == 0
    assert value(state, "seconds_since_last_success") == 3602


def test_a_log_from_the_future_keeps_no_dead_process_alive(
    state: ProcessState, clocks: Clocks
) -> None:
    state.learn(read(1, at=3600), live=False)
    assert value(state, "health_status") == 1
    clocks.now += 31
    assert value(state, "health_status") == 0


def test_news_count_when_they_come_whatever_the_process_clock_says(
    state: ProcessState, clocks: Clocks
) -> None:
    state.learn(read(1, at=-86_400), live=True)
    assert value(state, "health_status") == 1
    assert value(state, "seconds_since_last_success") == 2


def test_a_process_that_dies_again_and_again_has_no_young_success(
    state: ProcessState, clocks: Clocks
) -> None:
    state.learn(read(5), live=True)
    for number in range(1, 11):
        clocks.now += 60
        state.learn(
            read(
                1,
                at=60 * number,
                run_id=f"r{number}",
                records=0,
                files_total=0,
                seconds_since_last_success=0.0,
            ),
            live=True,
        )
    assert value(state, "seconds_since_last_success") == 602


def test_before_the_first_success_it_is_the_time_since_the_start(
    state: ProcessState, clocks: Clocks
) -> None:
    state.learn(read(5, files_total=0, seconds_since_last_success=5.0), live=True)
    clocks.now += 10
    assert value(state, "seconds_since_last_success") == 15


def test_a_process_clock_that_goes_back_makes_no_age_negative(state: ProcessState) -> None:
    state.learn(read(1, at=0), live=True)
    state.learn(read(2, at=-500, files_total=0), live=True)
    assert value(state, "seconds_since_last_success") == 0
