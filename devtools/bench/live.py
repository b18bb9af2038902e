"""Live mode: Prometheus scrapes every 15 s; what the services cost, and how late a sample is.

It is pulled, or pushed as well.

How late: from the sample's own timestamp to the first query of the sink that finds it.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from devtools.bench.live_world import (
    BUCKET,
    INTERVAL_SECONDS,
    METRIC,
    SERIES,
    SETTLE_SECONDS,
    LiveWorld,
    live_world,
)
from devtools.bench.machine import Meter
from devtools.servers.binaries import Toolbox
from devtools.servers.waiting import wait_until

_POLL_SECONDS = 0.2
# What pushed samples are to take at p99.
_PUSHED_BOUND_SECONDS = 3.0


def measure(toolbox: Toolbox, *, seconds: float, pushed: bool = False) -> dict[str, Any]:
    """CPU of each service, as a share of one core, and latencies in seconds."""
    with live_world(toolbox, pushed=pushed) as world:
        return _measured(world, seconds, pushed=pushed)


def _measured(world: LiveWorld, seconds: float, *, pushed: bool) -> dict[str, Any]:
    seen: dict[tuple[str, int], float] = {}

    def read() -> None:
        statement = f'SELECT "value" FROM "{METRIC}" WHERE "number" = \'0\''
        statement += f" AND time > now() - {round(6 * INTERVAL_SECONDS)}s GROUP BY job"
        now = time.time()
        for found in world.influx.query(statement, database=BUCKET, epoch="ms"):
            for stamp_ms, _ in found["values"]:
                seen.setdefault((found["tags"]["job"], stamp_ms), now - stamp_ms / 1000)

    def any_seen() -> bool:
        read()
        return bool(seen)

    wait_until(
        any_seen,
        deadline_seconds=4 * INTERVAL_SECONDS + SETTLE_SECONDS,
        what="the first live samples",
        poll_seconds=_POLL_SECONDS,
    )
    # What was scraped before the services were up came late for that reason. Before the query was
    # planned nothing that is pushed is taken: what was scraped by then comes by the pull.
    seen_before = set(seen)
    from_ms = time.time() * 1000 if pushed else 0.0
    pids = {service.module: service.pid for service in world.stages} | {"redis": world.redis.pid}
    meter = Meter(pids)
    until = time.monotonic() + seconds

    def over() -> bool:
        read()
        return time.monotonic() >= until

    wait_until(over, deadline_seconds=seconds + 60, what="the end", poll_seconds=_POLL_SECONDS)
    passed, cpu = meter.taken()
    latencies = [
        seconds for key, seconds in seen.items() if key not in seen_before and key[1] >= from_ms
    ]
    p50, p99, most = np.percentile(latencies, (50, 99, 100))
    return {
        "interval_seconds": INTERVAL_SECONDS,
        "settle_seconds": SETTLE_SECONDS,
        "series": SERIES,
        "seconds": round(passed, 1),
        "samples_timed": len(latencies),
        "latency_p50_seconds": round(float(p50), 2),
        "latency_p99_seconds": round(float(p99), 2),
        "latency_most_seconds": round(float(most), 2),
        "latency_bound_seconds": (
            _PUSHED_BOUND_SECONDS if pushed else INTERVAL_SECONDS + SETTLE_SECONDS + 2
        ),
        "core_share": {name: round(taken / passed, 5) for name, taken in cpu.items()},
        "memory_bytes": {
            server.name: server.rss_bytes() for server in (*world.stages, world.redis)
        },
    }
