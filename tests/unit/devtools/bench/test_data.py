"""The benchmark's input and its plot."""

from __future__ import annotations

import itertools
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from devtools.bench.data import BLOCK_MS, STEP_MS, Dataset
from devtools.bench.plot import cost_plot
from devtools.bench.statistics import Spread

END_MS = 1_700_006_400_000
LINE = re.compile(r"([a-z_]+)\{(.+)\} (\S+) (\d+\.\d{3})")


def lines(dataset: Dataset) -> list[tuple[str, str, str, int]]:
    """``(name, labels, value, ms)`` of every sample."""
    found = []
    for block in dataset.blocks():
        *text, end = b"".join(dataset.openmetrics(*block)).decode().splitlines()
        assert end == "# EOF"
        for line in text:
            match = LINE.fullmatch(line)
            assert match is not None, line
            found.append((match[1], match[2], match[3], round(float(match[4]) * 1000)))
    return found


def test_every_point_is_written_once_inside_its_step() -> None:
    dataset = Dataset(series=20, samples=40, end_ms=END_MS)
    found = lines(dataset)
    assert len(found) == dataset.points == len({(labels, ms) for _, labels, _, ms in found})
    assert len({labels for _, labels, _, _ in found}) == 20
    steps = {(labels, (ms - dataset.start_ms) // STEP_MS) for _, labels, _, ms in found}
    assert len(steps) == dataset.points
    assert all(ms % STEP_MS for *_, ms in found)


def test_a_family_is_written_in_one_piece() -> None:
    names = [name for name, *_ in lines(Dataset(series=40, samples=2, end_ms=END_MS))]
    runs = [name for name, before in zip(names, [None, *names], strict=False) if name != before]
    assert len(runs) == len(set(names)) > 2


def test_values_are_counters_and_floats() -> None:
    values = [value for _, _, value, _ in lines(Dataset(series=4, samples=3, end_ms=END_MS))]
    assert sum(value.isdigit() for value in values) == 6
    assert any(len(value.partition(".")[2]) > 10 for value in values)


@pytest.mark.parametrize(("churn", "series"), [(0.0, 10), (0.5, 15), (1.0, 20)])
def test_churn_replaces_series(churn: float, series: int) -> None:
    end_ms = END_MS // (60 * STEP_MS) * (60 * STEP_MS)
    dataset = Dataset(series=10, samples=120, end_ms=end_ms, churn=churn, churn_samples=60)
    assert len({labels for _, labels, _, _ in lines(dataset)}) == series


def test_no_block_crosses_the_bounds_of_two_hours() -> None:
    dataset = Dataset(series=1, samples=1000, end_ms=END_MS + 900_000)
    blocks = list(dataset.blocks())
    assert blocks[0][0] == dataset.start_ms
    assert blocks[-1][1] == dataset.end_ms
    assert all(start // BLOCK_MS == (end - 1) // BLOCK_MS for start, end in blocks)
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(blocks))


def case(points: int, whole: float, redis: float) -> dict[str, Any]:
    return {
        "axis": "points",
        "points": points,
        "figures": {
            "cpu.etl": Spread.of([whole, whole * 1.1]).as_json(),
            "cpu.redis": Spread.of([redis]).as_json(),
        },
    }


def test_the_plot_is_svg_with_a_dot_for_each_size_and_line() -> None:
    svg = cost_plot([case(50_000_000, 0.3, 0.05), case(1_000_000, 0.4, 0.06), {"axis": "churn"}])
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall("{*}circle")) == 4
    assert {"10⁶", "5·10⁷"} <= {text.text for text in root.findall("{*}text")}


def test_a_plot_of_one_size_is_refused() -> None:
    with pytest.raises(ValueError, match="two sizes"):
        cost_plot([case(1000, 0.3, 0.1)])
