"""What the benchmark of tiers expects and says."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from devtools.bench import report, tiers
from devtools.bench.data import BLOCK_MS, Dataset
from devtools.bench.main_case import SERIES
from devtools.bench.statistics import Spread

PARTS = ("etl", "extractor", "transformer", "loader", "redis", "prometheus")


@pytest.mark.parametrize(
    ("wanted", "of_a_series"), [(("hot",), 960), (("warm", "cold"), 52), (("hot", "cold"), 964)]
)
def test_how_many_points_the_buckets_hold(wanted: tuple[str, ...], of_a_series: int) -> None:
    four_hours = Dataset(SERIES, 960, 100 * BLOCK_MS)

    assert tiers._points(four_hours, wanted) == SERIES * of_a_series


def test_the_table_compares_with_hot_alone_beside_and_live() -> None:
    one: dict[str, Any] = Spread.of([0.5]).as_json()
    figures = {f"{case}.cpu.{part}": one for case in tiers.CASES for part in PARTS}
    ratios = {"alone": 0.61, "beside": 0.42, "live": 0.07}
    figures |= {f"ratio.{name}": Spread.of([value]).as_json() for name, value in ratios.items()}
    section = {"points": 960, "rollup_points": 52, "runs": 1, "load_average": 1.0}
    document = {"sections": {"tiers": {**section, "figures": figures}}}
    console = Console(width=200, record=True, file=io.StringIO())

    for table in report.tables(document):
        console.print(table)

    text = console.export_text()
    assert "warm and cold, of hot" in text
    assert all(f"{value:.0%}" in text for value in ratios.values())
