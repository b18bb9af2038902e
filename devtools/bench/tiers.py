"""What rollups cost: warm and cold together, beside the hot tier alone, of the same raw samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common.state.keys import feed_of
from devtools.bench.data import BLOCK_MS, SELECTOR, Dataset
from devtools.bench.main_case import MAIN_WINDOW, SERIES
from devtools.bench.product import drain
from devtools.bench.rig import QUERY, Rig
from devtools.bench.statistics import spreads
from devtools.servers.binaries import Toolbox

AGGREGATES = ["avg", "min", "max", "count", "last", "increase"]
RESOLUTIONS_SECONDS = {"warm": 300, "cold": 3600}


def measure(
    toolbox: Toolbox, now_ms: int, *, samples: int, runs: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """CPU-seconds for each million raw samples, and the ratio of the two, as JSON."""
    dataset = Dataset(SERIES, samples, now_ms // BLOCK_MS * BLOCK_MS)
    span_seconds = (dataset.end_ms - dataset.start_ms) // 1000
    points = sum(SERIES * span_seconds // each for each in RESOLUTIONS_SECONDS.values())
    found: list[dict[str, float]] = []
    with Rig(toolbox, dataset) as rig:
        for number in range(1, runs + 1):
            say(f"tiers: run {number} of {runs}: the hot tier, then warm and cold")
            hot = drain(rig, MAIN_WINDOW)
            buckets = {tier: rig.extra_bucket(tier) for tier in RESOLUTIONS_SECONDS}
            tiers = {
                tier: {
                    "bucket": buckets[tier],
                    "resolution": resolution_seconds,
                    "aggregates": AGGREGATES,
                }
                for tier, resolution_seconds in RESOLUTIONS_SECONDS.items()
            }
            query = {"name": QUERY, "select": SELECTOR, "tiers": list(tiers)}
            rolled = drain(
                rig,
                MAIN_WINDOW,
                overrides={"load": {"tiers": tiers}, "extract": {"queries": [query]}},
                feeds=[feed_of(QUERY, tier) for tier in tiers],
                loaded_points=points,
            )
            found.append(
                {
                    **{f"hot.{name}": value for name, value in hot.items()},
                    **{f"rollups.{name}": value for name, value in rolled.items()},
                    "ratio": rolled["cpu.etl"] / hot["cpu.etl"],
                }
            )
    figures = {name: spread.as_json() for name, spread in spreads(found).items()}
    return {"points": dataset.points, "rollup_points": points, "runs": runs, "figures": figures}
