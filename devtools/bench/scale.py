"""More processes of each stage, with the sink that costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from devtools.bench.data import BLOCK_MS, Dataset
from devtools.bench.product import drain
from devtools.bench.rig import STAGES, Rig
from devtools.bench.statistics import spreads
from devtools.servers.binaries import Toolbox

Say = Callable[[str], None]

COUNTS = (1, 2, 4)
WINDOW = 240


def measure(
    toolbox: Toolbox, now_ms: int, *, samples: int, runs: int, say: Say
) -> list[dict[str, Any]]:
    """For each number of processes: the figures of :func:`product.drain`."""
    dataset = Dataset(1000, samples, now_ms // BLOCK_MS * BLOCK_MS)
    records = []
    with Rig(toolbox, dataset, sink="null") as rig:
        for count in COUNTS:
            say(f"scale: {count} of each stage")
            counts = dict.fromkeys(STAGES, count)
            figures = [drain(rig, WINDOW, counts=counts) for _ in range(runs)]
            records.append(
                {
                    "processes_of_each_stage": count,
                    "figures": {name: found.as_json() for name, found in spreads(figures).items()},
                }
            )
    return records
