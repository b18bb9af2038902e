"""The main case: limits, product and baseline on the same data, within one run of the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from devtools.bench import naive
from devtools.bench.data import BLOCK_MS, Dataset
from devtools.bench.limits import encoded, sink_alone, source_alone, zero_cost_bound
from devtools.bench.product import drain
from devtools.bench.rig import Rig, SinkName
from devtools.bench.statistics import spreads
from devtools.servers.binaries import Toolbox

Say = Callable[[str], None]

SERIES = 1000
# Samples of a series that one window holds: the figures are stated for both.
WINDOWS = (60, 240, 480)
QUICK_WINDOWS = (60, 240)
MAIN_WINDOW = 60
NAIVE = {"series": 100, "samples": 200}


def measure(
    toolbox: Toolbox,
    now_ms: int,
    *,
    sink: SinkName,
    windows: Sequence[int],
    samples: int,
    runs: int,
    say: Say,
) -> dict[str, Any]:
    """Every figure of one sink, as JSON; by window length where it depends on that."""
    end_ms = now_ms // BLOCK_MS * BLOCK_MS
    dataset = Dataset(SERIES, samples, end_ms)
    say(f"{sink}: generating {dataset.points:,} points")
    result: dict[str, Any] = {
        "sink": sink, "points": dataset.points, "series": SERIES, "runs": runs, "windows": {},
    }  # fmt: skip
    with Rig(toolbox, dataset, sink=sink) as rig:
        found: dict[int, list[dict[str, float]]] = {window: [] for window in windows}
        for number in range(1, runs + 1):
            for window in windows:
                say(f"{sink}: run {number} of {runs}, {window} samples a series in each window")
                found[window].append(_one(rig, window))
        for window, figures in found.items():
            result["windows"][str(window)] = {
                name: spread.as_json() for name, spread in spreads(figures).items()
            }
    return result


def measure_naive(toolbox: Toolbox, now_ms: int, *, runs: int, say: Say) -> dict[str, Any]:
    """Figures of the baseline, with and without pipelined XADDs, for each million points."""
    dataset = Dataset(**NAIVE, end_ms=now_ms // BLOCK_MS * BLOCK_MS)
    result: dict[str, Any] = {"points": dataset.points, "runs": runs}
    with Rig(toolbox, dataset) as rig:
        for name, pipelined in (("one_by_one", False), ("pipelined", True)):
            say(f"naive pipeline, {name}: {dataset.points:,} points, {runs} times")
            figures = [naive.run(rig, pipelined=pipelined) for _ in range(runs)]
            result[name] = {key: spread.as_json() for key, spread in spreads(figures).items()}
    return result


def _one(rig: Rig, window: int) -> dict[str, float]:
    figures = drain(rig, window)
    settings = rig.settings(rig.config(rig.fresh_bucket(), window))
    # As long as the pipeline took, so that what happens now and then happens in both.
    source = source_alone(rig, settings, window, rig.settle(), figures["seconds"])
    outputs = encoded(rig, settings, window)
    sink = sink_alone(rig, settings, outputs, rig.settle())
    del outputs
    bound = zero_cost_bound(
        (source["cpu_seconds_per_million_points"], figures["cpu.prometheus"]),
        (sink["cpu_seconds_per_million_points"], figures["cpu.sink"]),
    )
    rate = figures["points_per_second"]
    return {
        **{f"source_alone.{name}": value for name, value in source.items()},
        **{f"sink_alone.{name}": value for name, value in sink.items()},
        **figures,
        "zero_cost_bound_points_per_second": bound,
        "ratio_to_zero_cost_bound": rate / bound,
        "ratio_to_source_alone": rate / source["points_per_second"],
        "ratio_to_sink_alone": rate / sink["points_per_second"],
    }


def median_of(section: dict[str, Any], window: int, name: str) -> float:
    """The median of a figure in what :func:`measure` returned."""
    return float(section["windows"][str(window)][name]["median"])
