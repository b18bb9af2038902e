"""Backfill of a week, against the rate at which the main case's amount is drained.

Both within one run, with the sink that costs nothing and windows of the default length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from devtools.bench.data import BLOCK_MS, STEP_MS, Dataset
from devtools.bench.machine import load_average
from devtools.bench.product import drain
from devtools.bench.rig import Rig
from devtools.bench.statistics import Spread, digits, spreads
from devtools.servers.binaries import Toolbox

Say = Callable[[str], None]

SERIES = 1000
WINDOW = 480
WEEK_SAMPLES = 7 * 86_400_000 // STEP_MS
# As many as the main case has of each series.
REFERENCE_SAMPLES = 2_880
LEAST_POINTS = SERIES * WINDOW


def samples_within(samples: int, most_points: float) -> int:
    """``samples`` of each series, or as many whole windows as ``most_points`` allows; 0 if none."""
    if samples * SERIES <= most_points:
        return samples
    return int(most_points // (SERIES * WINDOW)) * WINDOW


def compared(reference: Mapping[str, Spread], week: Mapping[str, Spread]) -> dict[str, float]:
    """The week's medians as multiples of the reference's."""

    def ratio(name: str) -> float:
        return digits(week[name].median / reference[name].median)

    return {"ratio_of_rates": ratio("points_per_second"), "ratio_of_costs": ratio("cpu.etl")}


def measure(
    toolbox: Toolbox, now_ms: int, *, runs: int, most_points: float, say: Say
) -> dict[str, Any]:
    """The figures of :func:`product.drain` for both, the week once; and :func:`compared`.

    Neither has more than ``most_points``, which must be ``LEAST_POINTS`` at least.
    """
    end_ms = now_ms // BLOCK_MS * BLOCK_MS
    found: dict[str, dict[str, Spread]] = {}
    cases = []
    for name, samples, times in (
        ("main case's amount", REFERENCE_SAMPLES, runs),
        ("week", WEEK_SAMPLES, 1),
    ):
        dataset = Dataset(SERIES, samples_within(samples, most_points), end_ms)
        say(f"week: {name}, {dataset.points:,} points")
        with Rig(toolbox, dataset, sink="null") as rig:
            load = load_average()
            found[name] = spreads([drain(rig, WINDOW) for _ in range(times)])
        cases.append(
            {
                "name": name,
                "points": dataset.points,
                "hours": dataset.samples * STEP_MS / 3_600_000,
                "load_average": load,
                "figures": {key: spread.as_json() for key, spread in found[name].items()},
            }
        )
    reference, week = found.values()
    return {"series": SERIES, "cases": cases, **compared(reference, week)}
