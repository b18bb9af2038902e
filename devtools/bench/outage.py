"""Redis while the sink is away: bytes in flight, and memory, against the high-water mark.

The sink is away before the first window, stays away ten times as long as the pipeline took to fill
up to the mark, and comes back; then everything must drain and be accounted for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from common.errors import StackError
from common.state.keys import POINTS
from common.state.ledger import Audit, Ledger
from common.state.windows import WindowSet
from devtools.bench.data import BLOCK_MS, Dataset
from devtools.bench.product import FEED, KEYS, Watch, drain_deadline_seconds, prove, wait_planned
from devtools.bench.rig import STAGES, Rig
from devtools.bench.statistics import digits
from devtools.servers.binaries import Toolbox
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until

Say = Callable[[str], None]

HIGH_WATER_BYTES = 32 << 20
SERIES = 1000
WINDOW = 60
# In the points stream a point takes 9 bytes or more at this window length: more than ten marks.
SAMPLES = 38_400
# The backlog must be worth so many marks, and the outage last as long as filling so many would.
MARKS = 10
# Long enough for the loader to open its circuit and to try again more than once.
_LEAST_AWAY_SECONDS = 30.0
_MARK_DEADLINE_SECONDS = 120.0
_MOST_AWAY_SECONDS = 300.0
_POLL_SECONDS = 0.05


@dataclass(slots=True)
class Highest:
    """What Redis holds, at its highest; ``idle_bytes`` is its memory before anything ran."""

    client: Redis
    idle_bytes: int
    in_flight_bytes: int = 0
    redis_bytes: int = 0
    watch: Watch = field(default_factory=Watch)

    def read(self) -> Audit:
        """Note what is there now; the ledger of the same instant."""
        audit = Ledger(self.client, KEYS).audit()
        self.in_flight_bytes = max(self.in_flight_bytes, in_flight_bytes(audit))
        self.redis_bytes = max(self.redis_bytes, memory_bytes(self.client)["used_memory"])
        self.watch.read(self.client, {})
        return audit


def in_flight_bytes(audit: Audit) -> int:
    """What back-pressure counts: the payloads of both streams, and what is staged for a commit."""
    return sum(depth.bytes for depth in audit.streams.values()) + audit.staged_bytes


def memory_bytes(client: Redis) -> dict[str, int]:
    """What Redis has allocated: in all, for data, and for the buffers of its clients."""
    info: Any = client.info("memory")
    names = ("used_memory", "used_memory_dataset", "mem_clients_normal")
    return {name: int(info[name]) for name in names}


def ratios(
    high_water_bytes: int,
    *,
    backlog_bytes: float,
    in_flight_most_bytes: int,
    redis_most_bytes: int,
    redis_idle_bytes: int,
) -> dict[str, float]:
    """Each in units of the high-water mark; Redis without what it takes when idle."""
    return {
        "backlog_marks": digits(backlog_bytes / high_water_bytes),
        "in_flight_most_marks": digits(in_flight_most_bytes / high_water_bytes),
        "redis_most_marks": digits((redis_most_bytes - redis_idle_bytes) / high_water_bytes),
    }


def measure(
    toolbox: Toolbox,
    now_ms: int,
    *,
    say: Say,
    samples: int = SAMPLES,
    high_water_bytes: int = HIGH_WATER_BYTES,
) -> dict[str, Any]:
    """One outage with the null sink; bytes, seconds, and :func:`ratios`."""
    dataset = Dataset(SERIES, samples, now_ms // BLOCK_MS * BLOCK_MS)
    say(f"outage: generating {dataset.points:,} points")
    with Rig(toolbox, dataset, sink="null") as rig:
        mark = {"pipeline": {"high_water_bytes": high_water_bytes}}
        config = rig.config(rig.fresh_bucket(), WINDOW, mark)
        rig.settle()
        rig.sink.stop()
        services = [rig.service(stage, 1, config) for stage in STAGES]
        with rig.client() as client:
            highest = Highest(client, memory_bytes(client)["used_memory"])
            try:
                found = _measured(rig, services, highest, say)
            finally:
                rig.stop_services()
    backlog_bytes = dataset.points * highest.watch.bytes_per_point(POINTS)
    return {
        "points": dataset.points,
        "high_water_bytes": high_water_bytes,
        "backlog_bytes": round(backlog_bytes),
        "in_flight_most_bytes": highest.in_flight_bytes,
        "redis_idle_bytes": highest.idle_bytes,
        "redis_most_bytes": highest.redis_bytes,
        **ratios(
            high_water_bytes,
            backlog_bytes=backlog_bytes,
            in_flight_most_bytes=highest.in_flight_bytes,
            redis_most_bytes=highest.redis_bytes,
            redis_idle_bytes=highest.idle_bytes,
        ),
        **found,
    }


def _measured(
    rig: Rig, services: Sequence[ServiceProcess], highest: Highest, say: Say
) -> dict[str, float]:
    for service in services:
        # The loader does not become ready: what it depends on is away on purpose.
        service.start_unready()
    wait_planned(highest.client)
    began = time.monotonic()
    mark_seconds = _fill(highest)
    away_seconds = min(max(MARKS * mark_seconds, _LEAST_AWAY_SECONDS), _MOST_AWAY_SECONDS)
    say(f"outage: at the mark after {mark_seconds:.1f} s, away for {away_seconds:.0f} s in all")
    _hold(highest, away_seconds - mark_seconds)
    stored, memory = highest.read(), memory_bytes(highest.client)
    rig.sink.start()
    away_seconds = time.monotonic() - began
    first_load_seconds, drain_seconds = _drain(highest, rig.dataset)
    ended = [service.name for service in services if not service.running]
    if ended:
        raise StackError(f"{', '.join(ended)} ended during the outage")
    return {
        "mark_seconds": digits(mark_seconds),
        "away_seconds": digits(away_seconds),
        "held_points": stored.total.in_flight,
        "held_in_flight_bytes": in_flight_bytes(stored),
        "held_redis_bytes": memory["used_memory"],
        # What clients have asked for and not read yet is in it, beside the payloads.
        "held_redis_clients_bytes": memory["mem_clients_normal"],
        "held_redis_dataset_bytes": memory["used_memory_dataset"],
        "first_load_seconds": digits(first_load_seconds),
        "drain_seconds": digits(drain_seconds),
        "points_per_second": digits(rig.dataset.points / drain_seconds),
    }


def _fill(highest: Highest) -> float:
    """Seconds until extraction pauses."""
    began = time.monotonic()
    wait_until(
        lambda: highest.read().back_pressure,
        deadline_seconds=_MARK_DEADLINE_SECONDS,
        what="back-pressure is on",
        poll_seconds=_POLL_SECONDS,
    )
    return time.monotonic() - began


def _hold(highest: Highest, seconds: float) -> None:
    """The sink stays away; raises :class:`StackError` if anything goes on without it."""
    until = time.monotonic() + seconds

    def over() -> bool:
        audit = highest.read()
        if audit.total.loaded or not audit.back_pressure:
            raise StackError(
                f"with the sink away {audit.total.loaded} points are loaded and back-pressure is"
                f" {'on' if audit.back_pressure else 'off'}"
            )
        return time.monotonic() >= until

    wait_until(
        over,
        deadline_seconds=seconds + 1,
        what="the outage is long enough",
        poll_seconds=_POLL_SECONDS,
    )


def _drain(highest: Highest, dataset: Dataset) -> tuple[float, float]:
    """Seconds until the first points are loaded, and until all are and the ledger is proved."""
    windows, began = WindowSet(highest.client, KEYS), time.monotonic()
    first_load: list[float] = []

    def drained() -> bool:
        if highest.read().total.loaded and not first_load:
            first_load.append(time.monotonic() - began)
        feed = windows.status().get(FEED)
        return feed is not None and feed.loaded_watermark_ms >= dataset.end_ms

    wait_until(
        drained,
        deadline_seconds=drain_deadline_seconds(dataset.points),
        what=f"{dataset.points} points are loaded after the outage",
        poll_seconds=_POLL_SECONDS,
    )
    seconds = time.monotonic() - began
    prove(Ledger(highest.client, KEYS).audit(), dataset.points)
    return (*first_load, seconds)[0], seconds
