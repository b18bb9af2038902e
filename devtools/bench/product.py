"""The product end to end: real service processes drain a backlog."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil
from redis import Redis

from common.errors import StackError
from common.state.keys import POINTS, RAW, STREAMS, Keys, feed_of
from common.state.ledger import Audit, Ledger
from common.state.windows import WindowSet
from devtools.bench.machine import Meter, beyond_idle, load_average
from devtools.bench.rig import QUERY, STAGES, Rig
from devtools.bench.statistics import spreads
from devtools.servers.service_process import ServiceProcess
from devtools.servers.waiting import wait_until

KEYS = Keys("etl")
FEED = feed_of(QUERY, "hot")
_FIRST_WINDOW_SECONDS = 60.0
_POLL_SECONDS = 0.1
# What everything takes when all is loaded: the median of so many times so long, because once in a
# while something is written that goes with what was loaded.
_IDLE_TIMES, _IDLE_SECONDS = 5, 1.0
# A pipeline that is slower than this has failed.
_LEAST_POINTS_PER_SECOND = 20_000.0
_LEAST_DRAIN_SECONDS = 300.0


@dataclass(slots=True)
class Watch:
    """What is seen of a run while it lasts: entries that pass by, memory at its highest."""

    entries: dict[str, dict[bytes, tuple[int, int]]] = field(
        default_factory=lambda: {stream: {} for stream in STREAMS}
    )
    memory_bytes: dict[str, int] = field(default_factory=dict)

    def read(self, client: Redis, processes: Mapping[str, psutil.Process]) -> None:
        """Note what is there now."""
        for stream, seen in self.entries.items():
            records: Mapping[Any, Any] = client.hgetall(KEYS.in_flight(stream))
            for id_, record in records.items():
                samples, size = record.split(b" ")[:2]
                seen[id_] = (int(samples), int(size))
        for name, process in processes.items():
            rss = int(process.memory_info().rss)
            self.memory_bytes[name] = max(rss, self.memory_bytes.get(name, 0))

    def bytes_per_point(self, stream: str) -> float:
        """Over the entries that were seen; 0 if none was."""
        samples = sum(samples for samples, _ in self.entries[stream].values())
        size = sum(size for _, size in self.entries[stream].values())
        return size / samples if samples else 0.0


def drain(
    rig: Rig,
    window_samples: int,
    *,
    counts: Mapping[str, int] | None = None,
    overrides: Mapping[str, Any] | None = None,
    feeds: Sequence[str] = (FEED,),
    loaded_points: int | None = None,
) -> dict[str, float]:
    """One run: from the first planned window to everything loaded.

    ``feeds`` are those that must be loaded, ``loaded_points`` what they hold then, where that is
    not the dataset's points.

    ``counts`` is how many processes of each stage run; one, unless it says otherwise. Names of the
    figures: ``points_per_second``, ``cpu.NAME`` (CPU-seconds per million points, beyond what idle
    processes take in that time), ``memory.NAME`` (bytes at the most, of one process),
    ``bytes.STREAM`` (bytes per point), ``others_cores`` (what everything else on the machine, this
    process too, had of it meanwhile), ``load_average``. Raises :class:`StackError` if anything was
    lost, dropped or slower than reason.
    """
    bucket = rig.fresh_bucket()
    rig.settle()
    config = rig.config(bucket, window_samples, overrides)
    wanted = dict.fromkeys(STAGES, 1) | dict(counts or {})
    services = {
        f"{stage}-{number}": rig.service(stage, number, config)
        for stage in STAGES
        for number in range(1, wanted[stage] + 1)
    }
    with rig.client() as client:
        try:
            wanted_points = rig.dataset.points if loaded_points is None else loaded_points
            return _drained(rig, client, services, feeds, wanted_points)
        finally:
            rig.stop_services()


def _drained(
    rig: Rig,
    client: Redis,
    services: Mapping[str, ServiceProcess],
    feeds: Sequence[str],
    loaded_points: int,
) -> dict[str, float]:
    extractors = [service for service in services.values() if service.module == STAGES[0]]
    others = [service for service in services.values() if service.module != STAGES[0]]
    for service in others:
        service.start(wait=False)
    for service in others:
        service.wait_ready()
    for service in extractors:
        service.start(wait=False)
    wait_planned(client, feeds[0])
    pids = {name: service.pid for name, service in services.items()}
    pids |= {"redis": rig.redis.pid, "prometheus": rig.prometheus.pid, **rig.sink_pids}
    meter = Meter(pids)
    processes = {name: psutil.Process(pid) for name, pid in pids.items()}
    windows, watch = WindowSet(client, KEYS), Watch()

    def loaded() -> bool:
        watch.read(client, processes)
        status = windows.status()
        return all(
            name in status and status[name].loaded_watermark_ms >= rig.dataset.end_ms
            for name in feeds
        )

    points = rig.dataset.points
    wait_until(
        loaded,
        deadline_seconds=drain_deadline_seconds(points),
        what=f"{points} points are loaded",
        poll_seconds=_POLL_SECONDS,
    )
    seconds, cpu = meter.taken()
    meanwhile = {"others_cores": meter.others_cores(), "load_average": load_average()}
    prove(Ledger(client, KEYS).audit(), loaded_points)
    figures = {"points_per_second": points / seconds, "seconds": seconds, **meanwhile}
    rig.settle()
    cpu = beyond_idle(seconds, cpu, _idle_cores(pids, loaded))
    for name, taken in cpu.items():
        kind = _kind(name)
        key = f"cpu.{kind}"
        figures[key] = figures.get(key, 0.0) + taken / points * 1e6
    for name, size in watch.memory_bytes.items():
        key = f"memory.{_kind(name)}"
        figures[key] = max(float(size), figures.get(key, 0.0))
    figures |= {f"bytes.{stream}": watch.bytes_per_point(stream) for stream in (RAW, POINTS)}
    figures["cpu.etl"] = sum(figures[f"cpu.{part}"] for part in (*STAGES, "redis"))
    figures["cpu.sink"] = sum(figures[f"cpu.{name}"] for name in rig.sink_pids)
    return figures


def _idle_cores(pids: Mapping[str, int], poll: Callable[[], object]) -> dict[str, float]:
    """Cores that each process has while it is only asked by ``poll``, as in a run."""
    found = []
    for _ in range(_IDLE_TIMES):
        meter = Meter(pids)
        while meter.seconds < _IDLE_SECONDS:
            poll()
            time.sleep(_POLL_SECONDS)
        found.append(meter.idle_cores())
    return {name: spread.median for name, spread in spreads(found).items()}


def wait_planned(client: Redis, feed: str = FEED) -> None:
    """Importing is no part of a run: it begins when the first extractor has planned the feed."""
    wait_until(
        lambda: client.exists(KEYS.feed(feed)),
        deadline_seconds=_FIRST_WINDOW_SECONDS,
        what="the first window",
        poll_seconds=0.002,
    )


def drain_deadline_seconds(points: int) -> float:
    """How long so many points may take before the run has failed."""
    return max(_LEAST_DRAIN_SECONDS, points / _LEAST_POINTS_PER_SECOND)


def _kind(name: str) -> str:
    """``loader`` for ``loader-2``."""
    stage, _, number = name.rpartition("-")
    return stage if stage in STAGES and number.isdigit() else name


def prove(audit: Audit, points: int) -> None:
    """A run that lost something is no run: raises :class:`StackError`."""
    total = audit.total
    if (total.loaded, audit.imbalance_samples) != (points, 0):
        raise StackError(
            f"of {points} points {total.loaded} are loaded, {total.dropped} dropped,"
            f" {total.dead_lettered} dead-lettered; the ledger is off by"
            f" {audit.imbalance_samples}"
        )
