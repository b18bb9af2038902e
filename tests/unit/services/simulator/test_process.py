"""The simulated ETL process on an injected clock: its usual pace, and what scenarios change."""

from __future__ import annotations

import statistics
import threading
from itertools import pairwise

import pytest

from common.runtime.etl_log import EtlLine, Scenario
from services.simulator.process import rfc3339
from tests.support.simulator_world import WALL_AT_START, World, only, pace

HOUR_SECONDS = 3600.0
WARM_UP_SECONDS = 120.0


def succeeded(lines: list[EtlLine]) -> list[EtlLine]:
    return only(lines, "file_processed")


def failed(lines: list[EtlLine]) -> list[EtlLine]:
    return only(lines, "file_failed")


def records(lines: list[EtlLine]) -> int:
    return sum(line["records"] for line in succeeded(lines))


def mean_processing_seconds(lines: list[EtlLine]) -> float:
    return statistics.mean(line["processing_seconds"] for line in succeeded(lines))


@pytest.fixture(scope="module")
def hour() -> list[EtlLine]:
    return World().run(HOUR_SECONDS)


class TestTheUsualPace:
    def test_ten_records_a_second(self, hour: list[EtlLine]) -> None:
        assert records(hour) == pytest.approx(10 * HOUR_SECONDS, rel=0.03)

    def test_in_files_of_50_to_500_records(self, hour: list[EtlLine]) -> None:
        sizes = [line["records"] for line in succeeded(hour)]
        assert 50 <= min(sizes) < 100
        assert 450 < max(sizes) <= 500

    def test_one_failure_a_minute(self, hour: list[EtlLine]) -> None:
        assert len(failed(hour)) == pytest.approx(60, abs=5)
        assert {line["error_type"] for line in failed(hour)} == {
            "connection_timeout", "malformed_file", "validation_failed", "constraint_violation",
            "destination_unavailable",
        }  # fmt: skip

    def test_a_file_takes_a_tenth_of_its_share_of_the_time(self, hour: list[EtlLine]) -> None:
        assert mean_processing_seconds(hour) == pytest.approx(2.75, rel=0.1)
        for line in succeeded(hour):
            rate = line["records"] / line["processing_seconds"]
            assert line["rate_records_per_second"] == pytest.approx(rate, rel=1e-3)

    def test_a_failed_file_is_tried_again_until_it_is_processed(self, hour: list[EtlLine]) -> None:
        done = [line["file"] for line in succeeded(hour)]
        assert len(set(done)) == len(done)
        for line in failed(hour[:-50]):
            assert line["file"] in done
            assert line["rate_records_per_second"] == 0

    def test_a_heartbeat_every_five_seconds_whatever_else_happens(
        self, hour: list[EtlLine]
    ) -> None:
        beats = only(hour, "heartbeat")
        assert len(beats) == HOUR_SECONDS / 5
        assert {line["level"] for line in beats} == {"debug"}
        assert {line["heartbeat_seconds"] for line in beats} == {5}

    def test_it_is_healthy(self, hour: list[EtlLine]) -> None:
        assert all(line["healthy"] for line in hour)
        assert {line["scenario"] for line in hour} == {"normal"}


def test_every_line_carries_the_totals_up_to_it() -> None:
    world = World(pace=pace(failures_per_minute=10))
    world.run(1800)
    world.process.stop()
    world.collect()
    total = dict.fromkeys(("records", "files", "failures"), 0)
    spent_seconds = 0.0
    for sequence, line in enumerate(world.lines, start=1):
        if line["event"] == "file_processed":
            total["records"] += line["records"]
            total["files"] += 1
            spent_seconds += line["processing_seconds"]
        total["failures"] += line["event"] == "file_failed"
        assert line["records_total"] == total["records"]
        assert line["files_total"] == total["files"]
        assert line["failures_total"] == total["failures"]
        assert line["processing_seconds_total"] == pytest.approx(spent_seconds, abs=1e-3)
        assert line["sequence"] == sequence
        assert line["run_id"] == "0123456789ab"
    assert world.lines[0]["event"] == "process_started"
    assert (world.lines[0]["pid"], world.lines[0]["seed"]) == (7, 1)
    assert world.lines[0]["timestamp"] == "2027-01-15T08:00:00.000Z"
    assert world.lines[-1]["event"] == "process_stopped"
    assert world.lines[-1]["uptime_seconds"] == 1800
    assert world.lines[-1]["timestamp"] == rfc3339(WALL_AT_START + 1800)


def test_the_figures_are_those_of_the_latest_line() -> None:
    world = World()
    world.run(600)
    line = world.lines[-1]
    figures = world.process.figures()
    assert figures.records_total == line["records_total"] > 0
    assert figures.files_total == line["files_total"] > 0
    assert figures.failures_total == line["failures_total"] > 0
    assert figures.errors_by_type == line["errors_by_type"]
    assert figures.uptime_seconds == 600
    success = succeeded(world.lines)[-1]
    since = world.now - 1000 - success["uptime_seconds"]
    assert figures.seconds_since_last_success == pytest.approx(since)
    assert figures.current_rate_records_per_second == pytest.approx(10, abs=8)
    assert figures.avg_processing_time_seconds > 0


def test_before_the_first_success_its_age_is_that_of_the_process() -> None:
    world = World(pace=pace(failures_per_minute=0))
    world.process.switch("stall")
    world.run(30)
    figures = world.process.figures()
    assert figures.seconds_since_last_success == 30
    assert figures.avg_processing_time_seconds == 0
    assert figures.current_rate_records_per_second == 0


def test_without_failures_there_are_none() -> None:
    assert failed(World(pace=pace(failures_per_minute=0)).run(HOUR_SECONDS)) == []


class TestSeeds:
    def test_one_seed_makes_one_run(self) -> None:
        first, same, other = (World(seed=seed).run(900) for seed in (3, 3, 4))
        assert first == same
        assert [line.get("file") for line in first] != [line.get("file") for line in other]

    @pytest.mark.parametrize("scenario", ["slow", "failure-burst", "low-throughput", "outage"])
    def test_scenarios_leave_the_files_as_they_are(self, scenario: Scenario) -> None:
        plain, spoilt = World(), World()
        spoilt.run(60)
        spoilt.process.switch(scenario)
        spoilt.run(300)
        spoilt.process.switch("normal")
        plain.run(900)
        spoilt.run(900)
        names = [line["file"] for line in succeeded(plain.lines)]
        spoilt_names = [line["file"] for line in succeeded(spoilt.lines)]
        shorter = min(len(names), len(spoilt_names))
        assert shorter > 25
        assert names[:shorter] == spoilt_names[:shorter]

    @pytest.mark.parametrize("step_seconds", [0.05, 0.5, 5.0])
    def test_how_often_it_is_advanced_changes_nothing(self, step_seconds: float) -> None:
        def told(step_seconds: float) -> dict[str, float]:
            done = succeeded(World().run(600, step_seconds))
            return {line["file"]: line["processing_seconds"] for line in done}

        assert told(step_seconds) == pytest.approx(told(0.1), abs=1e-3)


class TestScenarios:
    def hour_of(self, scenario: Scenario) -> tuple[World, list[EtlLine]]:
        world = World()
        world.run(WARM_UP_SECONDS)
        world.process.switch(scenario)
        world.collect()
        return world, world.run(HOUR_SECONDS)

    def test_outage_is_unhealthy_and_does_nothing(self) -> None:
        world, hour = self.hour_of("outage")
        assert {line["event"] for line in hour} == {"heartbeat"}
        assert not any(line["healthy"] for line in hour)
        assert {line["level"] for line in hour} == {"warning"}
        figures = world.process.figures()
        assert not world.process.healthy
        assert not figures.healthy
        assert figures.seconds_since_last_success > HOUR_SECONDS

    def test_stall_is_alive_without_success(self) -> None:
        world, hour = self.hour_of("stall")
        assert {line["event"] for line in hour} == {"heartbeat"}
        assert all(line["healthy"] for line in hour)
        assert world.process.figures().seconds_since_last_success > HOUR_SECONDS
        assert world.process.figures().current_rate_records_per_second == 0

    def test_slow_multiplies_the_processing_time_and_nothing_else(self) -> None:
        _, hour = self.hour_of("slow")
        usual = mean_processing_seconds(World().run(HOUR_SECONDS))
        assert mean_processing_seconds(hour) == pytest.approx(6 * usual, rel=0.1)
        assert records(hour) == pytest.approx(10 * HOUR_SECONDS, rel=0.05)
        assert len(failed(hour)) == pytest.approx(60, abs=6)

    def test_failure_burst_fails_often_and_keeps_its_pace(self) -> None:
        _, hour = self.hour_of("failure-burst")
        assert len(failed(hour)) == pytest.approx(20 * 60, rel=0.05)
        assert records(hour) == pytest.approx(10 * HOUR_SECONDS, rel=0.05)
        assert all(line["healthy"] for line in hour)

    def test_low_throughput_leaves_a_tenth_in_as_many_files(self) -> None:
        _, hour = self.hour_of("low-throughput")
        assert records(hour) == pytest.approx(HOUR_SECONDS, rel=0.15)
        assert len(succeeded(hour)) == pytest.approx(HOUR_SECONDS / 27.5, rel=0.1)
        assert len(failed(hour)) == pytest.approx(60, abs=5)
        # The gauge stays low all the time, instead of being high for a minute now and then.
        late = [line for line in hour if line["uptime_seconds"] > 2 * WARM_UP_SECONDS]
        assert max(line["current_rate_records_per_second"] for line in late) < 3

    @pytest.mark.parametrize("scenario", ["outage", "stall"])
    def test_recover_shows_at_once_and_makes_up_for_nothing(self, scenario: Scenario) -> None:
        world, _ = self.hour_of(scenario)
        world.process.switch("normal")
        world.collect()
        minutes = world.run(600)
        first = succeeded(minutes)[0]
        assert first["uptime_seconds"] < WARM_UP_SECONDS + HOUR_SECONDS + 15
        # A file that hung is begun again: it does not look slow afterwards.
        assert first["processing_seconds"] < 15
        assert records(minutes) == pytest.approx(10 * 600, rel=0.2)
        assert all(line["healthy"] for line in minutes)

    def test_a_file_in_hand_becomes_slow_and_quick_again(self) -> None:
        world = World(pace=pace(failures_per_minute=0))
        world.run(1)
        world.process.switch("slow")
        world.run(3)
        world.process.switch("normal")
        world.run(30)
        quick = World(pace=pace(failures_per_minute=0))
        quick.run(30)
        usual = succeeded(quick.lines)[0]["processing_seconds"]
        # Three slow seconds did half a second's work.
        assert usual > 1.5
        assert succeeded(world.lines)[0]["processing_seconds"] == pytest.approx(usual + 2.5)

    def test_the_change_is_a_line_of_its_own(self) -> None:
        world = World()
        world.run(10)
        world.process.switch("slow")
        world.collect()
        line = world.lines[-1]
        assert (line["event"], line["level"]) == ("scenario_changed", "warning")
        assert (line["previous_scenario"], line["scenario"]) == ("normal", "slow")
        assert line["until"] is None

    def test_a_scenario_with_a_duration_ends_by_itself(self) -> None:
        world = World()
        world.run(10)
        answer = world.process.switch("outage", 90)
        until = WALL_AT_START + 100
        assert (answer.scenario, answer.until_seconds, answer.remaining_seconds) == (
            "outage", until, 90,
        )  # fmt: skip
        assert answer.since_seconds == WALL_AT_START + 10
        world.run(60)
        assert world.process.in_force().remaining_seconds == 30
        assert not world.process.figures().healthy
        world.run(31)
        assert world.process.figures().healthy
        assert world.process.in_force().scenario == "normal"
        assert world.process.in_force().until_seconds is None
        began, ended = only(world.lines, "scenario_changed")
        assert began["until"] == rfc3339(until)
        assert (ended["previous_scenario"], ended["scenario"]) == ("outage", "normal")
        assert ended["uptime_seconds"] == 100
        assert world.run(60)

    def test_the_next_scenario_replaces_duration_and_all(self) -> None:
        world = World()
        world.process.switch("outage", 30)
        world.run(10)
        world.process.switch("slow")
        world.run(120)
        assert world.process.in_force().scenario == "slow"
        world.process.switch("slow", 20)
        world.run(10)
        world.process.switch("slow", 20)
        world.run(15)
        assert world.process.in_force().scenario == "slow"
        world.run(10)
        assert world.process.in_force().scenario == "normal"

    def test_recovering_from_nothing_is_harmless(self) -> None:
        world = World()
        world.run(120)
        world.process.switch("normal")
        assert records(world.run(HOUR_SECONDS)) == pytest.approx(10 * HOUR_SECONDS, rel=0.05)


def test_too_slow_to_keep_up_it_works_without_a_rest() -> None:
    world = World(pace=pace(slow_factor=100, failures_per_minute=0))
    world.run(60)
    world.process.switch("slow")
    world.run(HOUR_SECONDS)
    world.process.switch("normal")
    world.run(120)
    # An hour's debt is not made up for: a minute's is.
    assert records(world.run(600)) == pytest.approx(10 * 600, rel=0.2)


def test_a_machine_that_slept_does_not_process_what_it_missed() -> None:
    world = World()
    world.run(60)
    before = world.process.figures()
    world.now += 86_400
    world.process.advance()
    world.collect()
    after = world.process.figures()
    assert after.records_total == before.records_total
    assert after.failures_total == before.failures_total
    assert after.seconds_since_last_success > 86_000
    lines = world.run(600)
    assert max(line["processing_seconds"] for line in succeeded(lines)) < 15
    assert records(lines) == pytest.approx(10 * 600, rel=0.2)


def test_a_scenario_that_should_have_ended_meanwhile_ends() -> None:
    world = World()
    world.process.switch("outage", 60)
    world.now += 3600
    world.process.advance()
    world.collect()
    assert world.process.figures().healthy
    assert only(world.lines, "scenario_changed")[-1]["scenario"] == "normal"


def test_tells_when_more_is_due() -> None:
    world = World(pace=pace(heartbeat_seconds=2))
    world.process.switch("stall", 3)
    world.now += 0.5
    assert world.process.advance() == 1.5
    world.now += 1.5
    assert world.process.advance() == 1
    world.now += 1
    world.process.advance()
    assert world.process.in_force().scenario == "normal"


def test_asked_from_several_threads_its_lines_stay_in_order() -> None:
    world = World()

    def ask(scenario: Scenario) -> None:
        for _ in range(300):
            world.process.switch(scenario)
            world.process.figures()
            world.process.in_force()

    scenarios: tuple[Scenario, ...] = ("slow", "normal", "outage")
    threads = [threading.Thread(target=ask, args=(scenario,)) for scenario in scenarios]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        world.run(1)
    for thread in threads:
        thread.join()
    world.collect()
    assert len(only(world.lines, "scenario_changed")) == 900
    for before, after in pairwise(world.lines):
        assert after["sequence"] == before["sequence"] + 1
        if after["event"] == "scenario_changed":
            assert after["previous_scenario"] == before["scenario"]
