"""The benchmark's arithmetic: spreads, meters, conclusions, command line."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from devtools.bench import __main__ as command
from devtools.bench import report
from devtools.bench.limits import zero_cost_bound
from devtools.bench.machine import Meter, beyond_idle, cores, cpu_seconds, describe
from devtools.bench.statistics import Spread, digits, spreads, text_of


def test_a_spread_has_the_median_and_both_ends() -> None:
    assert Spread.of([3.0, 1.0, 2.0]).as_json() == {
        "median": 2.0,
        "min": 1.0,
        "max": 3.0,
        "runs": [3.0, 1.0, 2.0],
    }


def test_a_spread_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="one run at least"):
        Spread.of([])


def test_figures_are_gathered_by_name() -> None:
    found = spreads([{"a": 1.0, "b": 5.0}, {"a": 3.0, "b": 7.0}])
    assert (found["a"].median, found["b"].median) == (2.0, 6.0)


def test_digits_keeps_five() -> None:
    assert (digits(123456.7), digits(0.000123456)) == (123460.0, 0.00012346)


def test_a_meter_counts_from_its_beginning() -> None:
    machine = {"clock": 10.0, "busy": 100.0}
    cpu = {1: 5.0, 2: 7.0}
    meter = Meter(
        {"a": 1, "b": 2},
        clock=lambda: machine["clock"],
        cpu=lambda pid: cpu[pid],
        busy=lambda: machine["busy"],
    )
    cpu.update({1: 6.5, 2: 7.0})
    machine.update(clock=14.0, busy=103.5)
    assert meter.taken() == (4.0, {"a": 1.5, "b": 0.0})
    assert meter.others_cores() == 0.5


def test_idle_use_is_subtracted() -> None:
    cpu, idle = {"a": 1.5, "b": 0.1}, {"a": 0.25, "b": 0.25, "c": 1.0}
    assert beyond_idle(2.0, cpu, idle) == {"a": 1.0, "b": 0.0}


def test_processor_time_is_that_of_the_process() -> None:
    before, own_before = cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() - own_before < 0.05:
        pass
    taken, own = cpu_seconds(os.getpid()) - before, time.process_time() - own_before
    assert taken == pytest.approx(own, abs=0.03)
    with pytest.raises(psutil.NoSuchProcess):
        cpu_seconds(2**22 + 1)  # above the most that Linux may have


def test_the_machine_is_described() -> None:
    found = describe()
    assert found["cores"] == cores() >= 1
    assert found["memory_bytes"] > 0
    assert found["processor"]


def test_the_bound_is_cores_over_the_least_that_both_servers_take() -> None:
    assert zero_cost_bound([0.25], [0.75]) == pytest.approx(cores() * 1e6)
    assert zero_cost_bound([0.25, 0.5], [1.0, 0.75]) == pytest.approx(cores() * 1e6)


def spread(value: float) -> dict[str, Any]:
    return Spread.of([value]).as_json()


def document(etl: float, naive: float) -> report.Document:
    figures = {
        name: spread(value)
        for name, value in {
            "cpu.etl": etl,
            "ratio_to_zero_cost_bound": 0.9,
        }.items()
    }
    return {
        "sections": {
            "influxd": {"windows": {"60": figures}},
            "naive": {
                "one_by_one": {"cpu.etl": spread(naive)},
                "pipelined": {"cpu.etl": spread(naive / 2)},
            },
        }
    }


def test_the_conclusions_stand_at_the_top() -> None:
    found = document(etl=0.25, naive=75.0)
    report.conclude(found)
    assert found["etl_cpu_seconds_per_million_points"] == 0.25
    assert found["ratio_to_zero_cost_bound"] == 0.9
    assert (found["ratio_to_naive"], found["ratio_to_naive_pipelined"]) == (300.0, 150.0)
    assert list(report.problems(found)) == []


def test_a_run_that_passes_the_bound_says_so() -> None:
    found = document(etl=0.25, naive=75.0)
    report.conclude(found)
    sound = list(report.summary(found))
    found["ratio_to_zero_cost_bound"] = 1.11
    assert len(list(report.summary(found))) == len(sound) + 1


def test_a_gross_regression_is_a_problem() -> None:
    found = document(etl=2.0, naive=99.0)
    report.conclude(found)
    assert [problem.partition(" times")[0] for problem in report.problems(found)] == ["only 49.5"]


def test_a_document_without_the_main_case_concludes_nothing() -> None:
    found: report.Document = {"sections": {}}
    report.conclude(found)
    assert found == {"sections": {}}
    assert list(report.problems(found)) == []


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    assert report.read(path) == {}
    report.write({"sections": {"live": {}}}, path)
    assert report.read(path) == {"sections": {"live": {}}}
    path.write_text("[]", encoding="utf-8")
    assert report.read(path) == {}
    assert [file.name for file in path.parent.iterdir()] == ["bench.json"]


def test_a_spread_is_told_with_its_ends_when_there_are_several_runs() -> None:
    several = Spread.of([2.0, 1.0, 3.0]).as_json()
    assert text_of(several, "{:.0f}") == "2 (1-3)"
    assert text_of(spread(2e6), "{:.1f}", 1e-6) == "2.0"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (
            [],
            (
                "influxd",
                "naive",
                "steps",
                "victoria-metrics",
                "peers",
                "tiers",
                "live",
                "live-peers",
            ),
        ),
        (["--long"], ("pushed", "shape", "scale", "outage", "week", "flat")),
        (["--only", "flat"], ("flat",)),
        (["--quick"], command.QUICK_PARTS),
        (["--only", "live", "steps"], ("steps", "live")),
        (["--sink", "victoria-metrics"], ("victoria-metrics",)),
    ],
)
def test_the_command_line_says_what_is_measured(
    arguments: list[str], parts: tuple[str, ...]
) -> None:
    assert command.parts_of(command.parsed(arguments)) == parts


@pytest.mark.parametrize(
    "arguments", [["--runs", "0"], ["--only", "lunch"], ["--sink", "influxd", "--only", "live"]]
)
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.parsed(arguments)
    assert ended.value.code == 2
