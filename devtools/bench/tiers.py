"""What rollups cost: warm and cold together, beside the hot tier, of the same raw samples.

They are read an hour at a time. The hot tier is too, where it catches up or is backfilled; what is
live of it is read as soon as it is there, a few samples a series.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from common.state.keys import feed_of
from devtools.bench.data import BLOCK_MS, SELECTOR, Dataset
from devtools.bench.main_case import SERIES, WINDOWS
from devtools.bench.product import drain
from devtools.bench.rig import QUERY, Rig
from devtools.bench.statistics import spreads
from devtools.servers.binaries import Toolbox

AGGREGATES = ["avg", "min", "max", "count", "last", "increase"]
RESOLUTIONS_SECONDS = {"warm": 300, "cold": 3600}
# A scrape every 15 s: live windows are as long as three scrapes.
LIVE_WINDOW = 3
# By name: tiers, and samples of a series in each window of the hot one.
CASES: dict[str, tuple[tuple[str, ...], int]] = {
    "hot": (("hot",), WINDOWS[-1]),
    "rollups": (("warm", "cold"), WINDOWS[-1]),
    "all": (("hot", "warm", "cold"), WINDOWS[-1]),
    "live": (("hot",), LIVE_WINDOW),
}


def measure(
    toolbox: Toolbox, now_ms: int, *, samples: int, runs: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """CPU-seconds for each million raw samples of each of :data:`CASES`, and ratios, as JSON."""
    dataset = Dataset(SERIES, samples, now_ms // BLOCK_MS * BLOCK_MS)
    found: list[dict[str, float]] = []
    with Rig(toolbox, dataset) as rig:
        for number in range(1, runs + 1):
            figures: dict[str, float] = {}
            for case, (tiers, window_samples) in CASES.items():
                say(f"tiers: run {number} of {runs}: {case}, {window_samples} samples a window")
                drained = _drained(rig, tiers, window_samples)
                figures |= {f"{case}.{name}": value for name, value in drained.items()}
            cost = {case: figures[f"{case}.cpu.etl"] for case in CASES}
            figures["ratio.alone"] = cost["rollups"] / cost["hot"]
            figures["ratio.beside"] = cost["all"] / cost["hot"] - 1
            figures["ratio.live"] = cost["rollups"] / cost["live"]
            found.append(figures)
    summary = {name: spread.as_json() for name, spread in spreads(found).items()}
    points = _points(dataset, tuple(RESOLUTIONS_SECONDS))
    return {"points": dataset.points, "rollup_points": points, "runs": runs, "figures": summary}


def _drained(rig: Rig, tiers: Sequence[str], window_samples: int) -> dict[str, float]:
    configured: dict[str, dict[str, Any]] = {
        tier: {"bucket": rig.extra_bucket(tier)} for tier in tiers
    }
    for tier in RESOLUTIONS_SECONDS.keys() & configured.keys():
        configured[tier] |= {"resolution": RESOLUTIONS_SECONDS[tier], "aggregates": AGGREGATES}
    query = {"name": QUERY, "select": SELECTOR, "tiers": list(tiers)}
    return drain(
        rig,
        window_samples,
        overrides={"load": {"tiers": configured}, "extract": {"queries": [query]}},
        feeds=[feed_of(QUERY, tier) for tier in tiers],
        loaded_points=_points(rig.dataset, tiers),
    )


def _points(dataset: Dataset, tiers: Sequence[str]) -> int:
    """What the buckets of these tiers hold in the end."""
    span_seconds = (dataset.end_ms - dataset.start_ms) // 1000
    rollups = RESOLUTIONS_SECONDS.keys() & set(tiers)
    points = sum(SERIES * span_seconds // RESOLUTIONS_SECONDS[tier] for tier in rollups)
    return points + (dataset.points if "hot" in tiers else 0)
