"""A move of history, by this project and by others: same blocks, same sink, same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from devtools.bench import naive
from devtools.bench.data import BLOCK_MS, STEP_MS, Dataset
from devtools.bench.machine import load_average
from devtools.bench.peers import readback, vmctl
from devtools.bench.peers.readback import Columns, Labels
from devtools.bench.product import drain
from devtools.bench.rig import STAGES, Rig
from devtools.bench.statistics import spreads
from devtools.servers.binaries import Toolbox

Say = Callable[[str], None]

SERIES = 1000
# The default of `extract.catchup_window_samples`.
WINDOW = 480
# Windows of 60 samples a series that the naive pipeline reads: more would take it minutes.
NAIVE_WINDOWS = 1
# What comes as line protocol is named by measurement and field.
_FIELD = "_value"


@dataclass(frozen=True, slots=True)
class Contender:
    """A tool: its name in tables, what it proves by itself, and one run of it.

    ``name_suffix`` is what the sink adds to the names of what it writes.
    """

    title: str
    proves: str
    run: Callable[[Rig], Mapping[str, float]]
    name_suffix: str = ""


def _ours(rig: Rig) -> dict[str, float]:
    figures = drain(rig, WINDOW)
    return {
        "points": float(rig.dataset.points),
        "points_per_second": figures["points_per_second"],
        "cpu.tool": figures["cpu.etl"],
        "cpu.source": figures["cpu.prometheus"],
        "cpu.sink": figures["cpu.sink"],
        "memory.tool": sum(figures[f"memory.{part}"] for part in (*STAGES, "redis")),
    }


def _naive(rig: Rig) -> dict[str, float]:
    figures = naive.run(rig, pipelined=True, newest=NAIVE_WINDOWS)
    return {
        "points": figures["points"],
        "points_per_second": figures["points_per_second"],
        "cpu.tool": figures["cpu.etl"],
        "cpu.source": figures["cpu.prometheus"],
        "cpu.sink": figures["cpu.sink"],
    }


CONTENDERS = {
    "ours": Contender("this project", "a ledger of every sample", _ours, _FIELD),
    "vmctl": Contender("vmctl", "a count of what it sent", vmctl.run),
    "naive": Contender("naive pipeline", "nothing", _naive, _FIELD),
}


def measure(toolbox: Toolbox, now_ms: int, *, samples: int, runs: int, say: Say) -> dict[str, Any]:
    """The figures of each contender, and how its sink differs from the source in each run.

    Names: ``points`` moved, ``points_per_second``, ``cpu.tool|source|sink`` (CPU-seconds per
    million points), ``memory.tool`` (bytes, all its processes at their most, Redis included; the
    naive pipeline, which runs in the benchmark's process, has none), and those of
    :class:`readback.Difference`.
    """
    dataset = Dataset(SERIES, samples, now_ms // BLOCK_MS * BLOCK_MS)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    with Rig(toolbox, dataset, sink="victoria-metrics") as rig:
        source = readback.of_prometheus(rig.prometheus.url, dataset.start_ms, dataset.end_ms)
        for number in range(1, runs + 1):
            for name, contender in CONTENDERS.items():
                say(f"peers: run {number} of {runs}, {contender.title}")
                figures = dict(contender.run(rig)) | {"load_average": load_average()}
                since_ms = dataset.end_ms - round(figures["points"]) // SERIES * STEP_MS
                sink = readback.of_victoria_metrics(
                    rig.sink_url, dataset.start_ms, dataset.end_ms, contender.name_suffix
                )
                difference = readback.compared(_since(source, since_ms), sink)
                found[name].append(figures | difference.as_figures())
    return {
        "points": dataset.points,
        "series": SERIES,
        "runs": runs,
        "contenders": {
            name: {
                "title": CONTENDERS[name].title,
                "proves": CONTENDERS[name].proves,
                "figures": {key: spread.as_json() for key, spread in spreads(figures).items()},
            }
            for name, figures in found.items()
        },
    }


def _since(source: Mapping[Labels, Columns], since_ms: int) -> dict[Labels, Columns]:
    """What of it is later than ``since_ms``."""
    later = {}
    for labels, (times, values) in source.items():
        if len(kept := times[times > since_ms]):
            later[labels] = kept, values[-len(kept) :]
    return later
