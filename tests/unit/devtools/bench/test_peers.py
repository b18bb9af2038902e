"""Other tools beside the product: what is compared, and how it is shown."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from common.errors import StackError
from devtools.bench import __main__ as command
from devtools.bench import markdown, report
from devtools.bench.peers import vmctl
from devtools.bench.peers.history import CONTENDERS
from devtools.bench.peers.readback import Columns, Difference, Labels, compared, exported
from devtools.bench.plot import peers_plot
from devtools.bench.statistics import Spread
from devtools.servers.binaries import Toolbox

A: Labels = frozenset({("__name__", "up"), ("host", "a")})
B: Labels = frozenset({("__name__", "up"), ("host", "b")})


def columns(*points: tuple[int, float]) -> Columns:
    times, values = zip(*points, strict=True)
    return np.array(times, np.int64), np.array(values, np.float64)


def test_what_is_equal_differs_in_nothing() -> None:
    source = {A: columns((1, 0.5), (2, float("nan")))}
    assert compared(source, dict(source)) == Difference()


def test_each_kind_of_difference_is_counted() -> None:
    source = {
        A: columns((1, 1.0), (2, 2.0), (3, 1 / 3), (4, 4.0)),
        B: columns((1, 1.0), (2, 2.0)),
    }
    other: Labels = frozenset({("__name__", "down")})
    sink = {
        A: columns((1, 1.0), (2, 2.5), (3, 0.333333333333), (5, 5.0), (6, 6.0)),
        other: columns((1, 1.0)),
    }
    assert compared(source, sink) == Difference(
        missing_points=3, different_points=1, rounded_points=1, unexpected_points=3
    )


def test_a_point_that_is_there_twice_is_one_too_many() -> None:
    sink = {A: columns((1, 1.0), (1, 1.0))}
    assert compared({A: columns((1, 1.0))}, sink) == Difference(unexpected_points=1)


def test_an_export_names_series_as_the_source_does_and_orders_them() -> None:
    line = json.dumps(
        {
            "metric": {"__name__": "up_value", "host": "a"},
            "timestamps": [2, 1],
            "values": [20, 10],
        }
    ).encode()
    ((labels, (times, values)),) = exported([line], "_value")
    assert (labels, times.tolist(), values.tolist()) == (A, [1, 2], [10.0, 20.0])
    ((labels, _),) = exported([line])
    assert ("__name__", "up_value") in labels


def test_vmctl_reads_the_range_in_chunks() -> None:
    arguments = vmctl.command(Path("vmctl"), "http://p", "http://v", 0, 7_200_000)
    assert "--remote-read-use-stream" in arguments
    assert "--remote-read-filter-time-end=1970-01-01T02:00:00Z" in arguments


@pytest.mark.parametrize(
    ("text", "samples"),
    [("stats:\n  total samples: 960000;\n  samples/s: 2.5;", 960_000), ("cannot connect", None)],
)
def test_what_vmctl_says_that_it_moved(text: str, samples: int | None) -> None:
    assert vmctl.moved_samples(text) == samples


def test_a_peer_is_watched_until_it_has_ended() -> None:
    work = "sum(range(1_000_000)); kept = bytearray(16 << 20); import time; time.sleep(0.2)"
    with subprocess.Popen([sys.executable, "-c", work]) as process:
        taken, memory_bytes = vmctl.watched(process)
    assert process.returncode == 0
    assert taken > 0
    assert memory_bytes > 1 << 20


def section() -> dict[str, Any]:
    costs = {"ours": 2.0, "vmctl": 1.5, "naive": 100.0}

    def figures(name: str) -> dict[str, Any]:
        found = {
            "points": 60_000.0,
            "load_average": 1.5,
            "points_per_second": 1.25e6,
            "cpu.tool": costs[name],
            "cpu.source": 0.25,
            "cpu.sink": 0.5,
            **Difference(rounded_points=7).as_figures(),
        }
        if name != "naive":
            found["memory.tool"] = 64.0 * (1 << 20)
        return {key: Spread.of([value]).as_json() for key, value in found.items()}

    return {
        "points": 60_000,
        "runs": 1,
        "began": "2030-01-02T03:04:05+00:00",
        "load_average": 0.25,
        "contenders": {
            name: {"title": one.title, "proves": one.proves, "figures": figures(name)}
            for name, one in CONTENDERS.items()
        },
    }


def test_terminal_and_docs_show_them_side_by_side() -> None:
    machine = {"processor": "", "cores": 2, "memory_bytes": 0, "system": "", "python": ""}
    document = {"machine": machine, "sections": {"peers": section()}}
    page = "\n".join(markdown.figures(document))
    assert "|  | this project | vmctl | naive pipeline |" in page
    assert "| CPU-s per million, tool | 2.000 | 1.500 | 100.000 |" in page
    assert "| memory of the tool, MiB | 64 | 64 |  |" in page
    assert "| points rounded by the sink | 7 | 7 | 7 |" in page
    assert f"]({markdown.PEERS_PLOT})" in page
    console = Console(width=160, file=io.StringIO(), record=True)
    for table in report.tables(document):
        console.print(table)
    assert "proves by itself" in console.export_text()


def test_a_bar_that_would_dwarf_the_others_is_cut_off() -> None:
    svg = peers_plot(section()["contenders"].values())
    assert svg.startswith("<svg")
    assert svg.count("cut off: ") == 1
    assert "cut off: 101, 1.2 M/s" in svg
    assert "2.75, 1.2 M/s" in svg


class Absent(Toolbox):
    """There is no package."""

    def prepare(self, names: object = None) -> None:
        raise StackError("apt-get knows no package victoria-metrics")


def test_without_the_package_the_parts_that_need_it_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "toolbox", lambda: Absent(tmp_path))
    file = tmp_path / "bench.json"
    assert command.main(["--only", *command.VICTORIA_PARTS, "--json", str(file)]) == 0
    said = capsys.readouterr().out
    for part in command.VICTORIA_PARTS:
        assert f"{part} is left out: apt-get knows no package victoria-metrics" in said
    assert "the figures are in" not in said
