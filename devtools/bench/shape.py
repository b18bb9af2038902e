"""How the cost of a point depends on the shape of the data. The sink is the one that costs nothing.

One thing is changed at a time: samples a series in each window, series, churn, size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from devtools.bench.data import BLOCK_MS, Dataset
from devtools.bench.machine import load_average
from devtools.bench.product import drain
from devtools.bench.rig import Rig
from devtools.bench.statistics import spreads
from devtools.servers.binaries import Toolbox

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One shape: what is varied, its value, and the data."""

    axis: str
    value: float
    series: int
    samples: int
    window: int = 60
    churn: float = 0.0
    most_runs: int = 5

    def dataset(self, now_ms: int) -> Dataset:
        """The data, ending at the last full two hours."""
        return Dataset(
            self.series,
            self.samples,
            now_ms // BLOCK_MS * BLOCK_MS,
            churn=self.churn,
            churn_samples=self.window,
        )


CASES = (
    *(Case("window_samples", window, 1000, 1920, window) for window in (20, 60, 240)),
    Case("series", 1_000, 1_000, 1920),
    Case("series", 10_000, 10_000, 240),
    Case("series", 100_000, 100_000, 60, most_runs=3),
    *(Case("churn", churn, 1000, 1920, churn=churn) for churn in (0.0, 0.1, 1.0)),
    Case("points", 1e5, 1000, 100, 240),
    Case("points", 1e6, 1000, 1000, 240),
    Case("points", 1e7, 1000, 10_000, 240, most_runs=3),
    Case("points", 5e7, 1000, 50_000, 240, most_runs=1),
)


def measure(
    toolbox: Toolbox, now_ms: int, *, runs: int, say: Say, cases: Iterable[Case] = CASES
) -> list[dict[str, Any]]:
    """A record for each case: what it is, and the figures of :func:`product.drain`."""
    records = []
    for case in cases:
        dataset = case.dataset(now_ms)
        say(f"shape: {case.axis} = {case.value:g} ({dataset.points:,} points)")
        with Rig(toolbox, dataset, sink="null") as rig:
            load = load_average()
            figures = [drain(rig, case.window) for _ in range(min(runs, case.most_runs))]
        records.append(
            {
                "axis": case.axis,
                "value": case.value,
                "points": dataset.points,
                "load_average": load,
                "figures": {name: spread.as_json() for name, spread in spreads(figures).items()},
            }
        )
    return records
