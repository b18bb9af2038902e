"""Outage, week and memory over time: their arithmetic, their rows, their place in the document."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from common.state.ledger import Audit, Depth
from devtools.bench import __main__ as command
from devtools.bench import flat, markdown, outage, report, rows, week
from devtools.bench.statistics import Spread, spreads

MIB = 1 << 20
STAMP = {"began": "2030-01-02T03:04:05+00:00", "load_average": 0.25}


def outage_section() -> dict[str, Any]:
    return {
        "points": 19_200_000,
        "high_water_bytes": 16 * MIB,
        "backlog_marks": 10.5,
        "in_flight_most_marks": 1.25,
        "redis_most_marks": 1.5,
        "redis_idle_bytes": 1 * MIB,
        "redis_most_bytes": 25 * MIB,
        "held_in_flight_bytes": 18 * MIB,
        "held_redis_bytes": 21 * MIB,
        "held_redis_clients_bytes": 2 * MIB,
        "mark_seconds": 3.0,
        "away_seconds": 30.4,
        "first_load_seconds": 4.25,
        "drain_seconds": 32.0,
        "points_per_second": 600_000.0,
        **STAMP,
    }


def week_section() -> dict[str, Any]:
    figures = {
        "points_per_second": 1e6,
        "cpu.etl": 0.5,
        **{f"memory.{name}": 100.0 * MIB for name in rows.PROCESSES},
    }
    found = {name: spread.as_json() for name, spread in spreads([figures]).items()}
    return {
        "series": 1000,
        "cases": [
            {"name": "main case's amount", "points": 2_880_000, "hours": 12.0, "figures": found},
            {"name": "week", "points": 40_320_000, "hours": 168.0, "figures": found},
        ],
        "ratio_of_rates": 0.98,
        "ratio_of_costs": 1.02,
        **STAMP,
    }


def flat_section() -> dict[str, Any]:
    return {
        "interval_seconds": 15.0,
        "series": 1000,
        "seconds": 1800.0,
        "processes": {"loader": flat.growth([80 * MIB] * 4 + [82 * MIB] * 4)},
        **STAMP,
    }


def document() -> report.Document:
    sections = {"outage": outage_section(), "week": week_section(), "flat": flat_section()}
    machine = {
        "processor": "An 8-bit wonder", "cores": 2, "memory_bytes": 1 << 32,
        "system": "Linux", "python": "3.11",
    }  # fmt: skip
    return {"machine": machine, "sections": sections}


def test_an_outage_is_told_in_marks() -> None:
    assert outage.ratios(
        100,
        backlog_bytes=1050.0,
        in_flight_most_bytes=104,
        redis_most_bytes=130,
        redis_idle_bytes=20,
    ) == {"backlog_marks": 10.5, "in_flight_most_marks": 1.04, "redis_most_marks": 1.1}


def test_in_flight_is_what_both_streams_hold_and_what_is_staged() -> None:
    audit = Audit(
        now_ms=0,
        accounts={},
        streams={"raw": Depth(bytes=3), "points": Depth(bytes=4)},
        staged_bytes=5,
        dead_letter_entries=0,
        deleted_dead_samples={},
        back_pressure=False,
    )
    assert outage.in_flight_bytes(audit) == 12


def test_the_backlog_of_the_outage_is_worth_ten_marks() -> None:
    least_bytes_a_point = 9
    backlog_bytes = outage.SERIES * outage.SAMPLES * least_bytes_a_point
    assert backlog_bytes >= outage.MARKS * outage.HIGH_WATER_BYTES


@pytest.mark.parametrize(
    ("most_points", "samples"),
    [
        (float("inf"), 40_320),
        (40_320_000, 40_320),
        (3_000_000, 2_880),
        (480_000, 480),
        (479_999, 0),
    ],
)
def test_a_week_is_shortened_to_whole_windows(most_points: float, samples: int) -> None:
    assert week.samples_within(week.WEEK_SAMPLES, most_points) == samples


def test_the_week_is_compared_by_its_medians() -> None:
    reference = {
        "points_per_second": Spread.of([1.0, 2.0, 9.0]), "cpu.etl": Spread.of([0.4])
    }  # fmt: skip
    found = {"points_per_second": Spread.of([1.5]), "cpu.etl": Spread.of([0.6])}
    assert week.compared(reference, found) == {"ratio_of_rates": 0.75, "ratio_of_costs": 1.5}


def test_growth_is_the_last_quarter_against_the_first() -> None:
    readings = [100, 102, 104, 110, 500, 110, 110, 110, 120, 117, 119]
    assert flat.growth(readings) == {
        "first_quarter_bytes": 101,
        "last_quarter_bytes": 119,
        "most_bytes": 500,
        "growth_percent": 17.822,
        "quarters_bytes": [101, 110, 110, 119],
    }


def test_memory_that_shrinks_has_grown_by_less_than_nothing() -> None:
    assert flat.growth([100, 100, 90, 80])["growth_percent"] == -20.0


def test_growth_needs_a_look_in_each_quarter() -> None:
    with pytest.raises(ValueError, match="four readings"):
        flat.growth([1, 2, 3])


def test_the_docs_show_all_three() -> None:
    page = "\n".join(markdown.long_figures(document()))
    assert "### Sink away for 30 s, high-water mark 16.0 MiB, null sink" in page
    assert "| Redis' memory above idle at the most | 1.50 marks (8.0 MiB above it) |" in page
    assert "| M points/s over these | 0.60 |" in page
    assert "### Backfill of 7 days of 1,000 series, 40,320,000 points, null sink" in page
    assert "|  | 2,880,000 points | 40,320,000 points | ratio |" in page
    assert "| M points/s | 1.00 | 1.00 | 0.98 |" in page
    assert "| memory of redis, MiB | 100 | 100 |  |" in page
    assert "### Memory over 30 minutes of live mode: 1,000 series every 15 s" in page
    assert "| loader | 80.0 | 82.0 | 82.0 | +2.5% |" in page


def test_the_terminal_shows_all_three() -> None:
    console = Console(width=120, file=io.StringIO(), record=True)
    for table in report.tables(document()):
        console.print(table)
    text = console.export_text()
    assert "1.50 marks (8.0 MiB above it)" in text
    assert "40,320,000 points" in text
    assert "+2.5%" in text


def test_they_leave_the_figures_at_the_top_alone() -> None:
    found = document()
    top = {"ratio_to_zero_cost_bound": 0.9, "ratio_to_naive": 250.0}
    report.conclude(found)
    assert set(found) == {"machine", "sections"}
    found |= top
    report.conclude(found)
    assert {name: found[name] for name in top} == top


def test_the_quick_form_measures_none_of_them() -> None:
    assert not {"outage", "week", "flat"} & set(command.QUICK_PARTS)
    assert {"outage", "week"} <= set(command.parts_of(command.parsed(["--long"])))


def test_a_week_that_would_not_fill_a_window_is_left_out() -> None:
    assert "week" not in command.parts_of(command.parsed(["--long", "--most-points", "200000"]))


@pytest.mark.parametrize(
    "arguments",
    [["--flat-seconds", "39"], ["--only", "week", "--most-points", "200000"]],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.parsed(arguments)
    assert ended.value.code == 2
