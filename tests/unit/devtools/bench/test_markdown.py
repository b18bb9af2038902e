"""The figures' way into docs/performance.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from devtools.bench.markdown import BEGIN, END, LONG_BEGIN, LONG_END, PLOT, main, replaced
from devtools.bench.statistics import Spread

PAGE = (
    f"# Page\n\n{BEGIN}what stood here\n{END}\n{LONG_BEGIN}what took long\n{LONG_END}\nthe rest\n"
)


def document() -> dict[str, Any]:
    def case(points: int) -> dict[str, Any]:
        cost = Spread.of([0.3, 0.4]).as_json()
        return {
            "axis": "points",
            "value": points,
            "points": points,
            "load_average": 0.5,
            "figures": {"cpu.etl": cost, "cpu.redis": Spread.of([0.1]).as_json()},
        }

    stamp = {"began": "2030-01-02T03:04:05+00:00", "load_average": 0.25}
    return {
        "machine": {
            "processor": "An 8-bit wonder",
            "cores": 2,
            "memory_bytes": 1 << 32,
            "system": "Linux",
            "python": "3.11",
        },
        "ratio_to_naive": 250.0,
        "sections": {
            "steps": {"steps": {"relabel_cold": Spread.of([4.25]).as_json()}, **stamp},
            "shape": {"cases": [case(100_000), case(1_000_000)], **stamp},
        },
    }


def test_the_figures_take_the_place_of_the_old_ones() -> None:
    page = replaced(PAGE, document())
    assert page.startswith(f"# Page\n\n{BEGIN}")
    assert page.endswith(f"{LONG_END}\nthe rest\n")
    assert "what stood here" not in page
    assert "what took long" not in page
    assert "An 8-bit wonder, 2 cores, 4 GiB" in page
    assert "- 250 times cheaper than the naive pipeline" in page
    assert "| relabel, cold | 4.2 |" in page
    assert "| points in all | 100,000 | 100,000 | 0.350 (0.300-0.400) | 0.5 |" in page
    assert "Begun 2030-01-02T03:04Z at load average 0.25." in page
    assert replaced(page, document()) == page


def test_what_takes_long_stays_where_it_was_not_measured() -> None:
    short = document()
    del short["sections"]["shape"]
    assert "what took long" in replaced(PAGE, short)


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="where figures belong"):
        replaced("# Page\n", document())


def test_page_and_plot_are_written(tmp_path: Path) -> None:
    json_file, page = tmp_path / "bench.json", tmp_path / "performance.md"
    page.write_text(PAGE, encoding="utf-8")
    json_file.write_text(json.dumps(document()), encoding="utf-8")
    assert main(json_file, tmp_path) == 0
    assert f"]({PLOT})" in page.read_text(encoding="utf-8")
    assert (tmp_path / PLOT).read_text(encoding="utf-8").startswith("<svg")


def test_without_figures_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tmp_path / "bench.json", tmp_path) == 1
    assert "holds no figures" in capsys.readouterr().err
