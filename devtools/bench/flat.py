"""Memory over time: live mode goes on for a while, every process' resident memory is noted.

Beside the stages and Redis run etl-metrics, which reads the same Redis, and the simulator. Both are
asked for their /metrics at each reading, as a Prometheus would.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from common.errors import StackError
from common.state.ledger import Ledger
from devtools.bench.live_world import (
    INTERVAL_SECONDS,
    SERIES,
    SETTLE_SECONDS,
    LiveWorld,
    live_world,
)
from devtools.bench.product import KEYS
from devtools.bench.statistics import digits
from devtools.servers.binaries import Toolbox
from devtools.servers.http import missing_status
from devtools.servers.processes import Server
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until

Say = Callable[[str], None]

WARM_UP_SECONDS = 120.0
READING_SECONDS = 10.0
# A quarter needs a reading of its own.
LEAST_SECONDS = 4 * READING_SECONDS
_LOGIN = ("prometheus", "bench-simulator")
# Less than this share of what was scraped meanwhile, and the pipeline stood still.
_LEAST_LOADED_SHARE = 0.8


def growth(readings_bytes: Sequence[int]) -> dict[str, Any]:
    """What a process' memory did, in bytes and percent; four readings at least.

    ``quarters_bytes`` are the medians of the four quarters, in their order: growth that ends is
    told apart from growth that goes on. ``growth_percent`` compares the last with the first.
    """
    count = len(readings_bytes)
    if count < 4:
        raise ValueError("growth needs four readings at least")
    bounds = [count * quarter // 4 for quarter in range(5)]
    quarters = [
        round(statistics.median(readings_bytes[first:last]))
        for first, last in itertools.pairwise(bounds)
    ]
    return {
        "first_quarter_bytes": quarters[0],
        "last_quarter_bytes": quarters[-1],
        "most_bytes": max(readings_bytes),
        "growth_percent": digits((quarters[-1] / quarters[0] - 1) * 100),
        "quarters_bytes": quarters,
    }


def measure(toolbox: Toolbox, *, seconds: float, say: Say) -> dict[str, Any]:
    """For each process what :func:`growth` says of ``seconds`` after the warm-up."""
    with live_world(toolbox) as world, _companions(world) as companions:
        servers: dict[str, Server] = {service.module: service for service in world.stages}
        servers |= {"redis": world.redis, **companions}
        say(f"flat: {WARM_UP_SECONDS:g} s to warm up")
        _readings(servers, WARM_UP_SECONDS)
        before = _loaded_points(world)
        say(f"flat: live mode for {seconds:g} s")
        readings = _readings(servers, seconds)
        loaded = _loaded_points(world) - before
    scraped = SERIES * seconds / INTERVAL_SECONDS
    # The last windows are still to settle, and a reading falls anywhere between two of them.
    least = _LEAST_LOADED_SHARE * (scraped - SERIES * (1 + SETTLE_SECONDS / INTERVAL_SECONDS))
    if loaded < least:
        raise StackError(f"{loaded} points were loaded in {seconds:g} s of {scraped:.0f}")
    return {
        "interval_seconds": INTERVAL_SECONDS,
        "series": SERIES,
        "warm_up_seconds": WARM_UP_SECONDS,
        "seconds": seconds,
        "readings": len(next(iter(readings.values()))),
        "points_loaded": loaded,
        "processes": {name: growth(found) for name, found in readings.items()},
    }


def _readings(servers: Mapping[str, Server], seconds: float) -> dict[str, list[int]]:
    """Resident bytes of each process, every ``READING_SECONDS``."""
    readings: dict[str, list[int]] = {name: [] for name in servers}
    until = time.monotonic() + seconds

    def over() -> bool:
        if time.monotonic() >= until:
            return True
        for name, server in servers.items():
            if not server.running:
                raise StackError(f"{name} ended: {server.log_tail(3)}")
            if isinstance(server, ServiceProcess):
                missing = missing_status(f"{server.url}/metrics", auth=_LOGIN)
                if missing:
                    raise StackError(missing)
            readings[name].append(server.rss_bytes())
        return False

    wait_until(
        over, deadline_seconds=seconds + 60, what="the last reading", poll_seconds=READING_SECONDS
    )
    return readings


def _loaded_points(world: LiveWorld) -> int:
    with world.redis.client() as client:
        return Ledger(client, KEYS).audit().total.loaded


@contextlib.contextmanager
def _companions(world: LiveWorld) -> Iterator[dict[str, ServiceProcess]]:
    password = world.folder / "simulator-password"
    password.touch(mode=0o600)
    password.write_text(_LOGIN[1] + "\n", encoding="utf-8")
    simulator = ServiceProcess(
        "simulator",
        world.folder / "simulator",
        log_dir=world.log_dir,
        environ={"SIMULATOR_PASSWORD_FILE": str(password)},
        environ_prefix="SIMULATOR_",
        ready_path="/health",
    )
    etl_metrics = ServiceProcess(
        "exporter",
        world.folder / "etl-metrics",
        name="etl-metrics",
        log_dir=world.log_dir,
        environ={"ETL_METRICS_REDIS_URL": world.redis.plain_url},
        environ_prefix="ETL_METRICS_",
    )
    with simulator, etl_metrics:
        yield {"etl-metrics": etl_metrics, "simulator": simulator}
