"""Live, beside vmagent: each tool with a sink of its own, the same target, at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import requests

from common.errors import StackError
from devtools.bench.live_world import (
    INTERVAL_SECONDS,
    JOBS,
    METRIC,
    Scrape,
    exporter,
    kept_servers,
    start_pipeline,
)
from devtools.bench.machine import Meter, load_average
from devtools.bench.peers.readback import exported
from devtools.bench.peers.vmagent import VmagentServer
from devtools.bench.servers import VictoriaServer
from devtools.bench.statistics import spreads
from devtools.servers.binaries import Toolbox
from devtools.servers.http import session
from devtools.servers.processes import Server
from devtools.servers.waiting import wait_until

Say = Callable[[str], None]

SCRAPE = Scrape(series_of_a_job=1000, interval_seconds=5.0, timeout_seconds=5.0)
SERIES = JOBS * SCRAPE.series_of_a_job
_POLL_SECONDS = 0.2
_START_SECONDS = 180.0
# How far back a sink is asked for samples: more than any tool is late.
_REACH_SECONDS = 60.0
# Line protocol: the field is a part of the name.
_FIELD = "_value"


@dataclass(frozen=True, slots=True)
class Processes:
    """What runs for a tool: itself, what it reads from, what it writes to."""

    tool: Sequence[Server]
    source: Sequence[Server]
    sink: VictoriaServer


@dataclass(frozen=True, slots=True)
class Start:
    """Where a tool is to run, and between what; ``servers`` gets what it starts."""

    toolbox: Toolbox
    folder: Path
    target: str
    sink: VictoriaServer
    servers: list[Server]


@dataclass(frozen=True, slots=True)
class Contender:
    """A tool: its name in tables, and what it does about samples that it may lose.

    ``name_suffix`` is what the sink adds to the names of what it writes.
    """

    title: str
    proves: str
    after_a_stop: str
    sink_away: str
    start: Callable[[Start], Processes]
    name_suffix: str = ""


def _pipeline(start: Start, *, pushed: bool) -> Processes:
    found = start_pipeline(
        start.toolbox,
        start.folder,
        start.servers,
        target=start.target,
        sink_url=start.sink.url,
        scrape=SCRAPE,
        pushed=pushed,
    )
    return Processes((*found.stages, found.redis), (found.prometheus,), start.sink)


def _vmagent(start: Start) -> Processes:
    agent = VmagentServer(
        start.toolbox,
        start.folder / "vmagent",
        target=start.target,
        sink_url=start.sink.url,
        scrape=SCRAPE,
        log_dir=start.folder / "logs",
    )
    start.servers.append(agent)
    agent.start()
    return Processes((agent,), (), start.sink)


_OURS = ("a ledger of every sample", "catches up", "waits in Prometheus")
CONTENDERS = {
    "ours": Contender("this project", *_OURS, lambda start: _pipeline(start, pushed=False), _FIELD),
    "pushed": Contender("with push", *_OURS, lambda start: _pipeline(start, pushed=True), _FIELD),
    "vmagent": Contender(
        "vmagent", "a count of what it sent", "has a hole", "waits on its disk", _vmagent
    ),
}


def stamps_of(sink_url: str, since: float, name_suffix: str = "") -> set[tuple[str, int]]:
    """Job and timestamp (ms) of each sample of each job's first series, as the sink shows them."""
    parameters = {
        "match[]": f'{METRIC}{name_suffix}{{number="0"}}',
        "start": f"{since:.3f}",
    }
    with session() as opened:
        response = opened.get(f"{sink_url}/api/v1/export", params=parameters, timeout=30)
    if response.status_code != requests.codes.ok:
        raise StackError(f"the sink responds {response.status_code}: {response.text[:300]}")
    return {
        (dict(labels)["job"], int(stamp_ms))
        for labels, (times, _) in exported(response.iter_lines())
        for stamp_ms in times
    }


def missing_scrapes(stamps: set[tuple[str, int]], interval_seconds: float) -> int:
    """How many scrapes are not there between the first and the last of each job."""
    missing = 0
    for job in {job for job, _ in stamps}:
        times_ms = [stamp_ms for name, stamp_ms in stamps if name == job]
        expected = round((max(times_ms) - min(times_ms)) / (interval_seconds * 1000)) + 1
        missing += max(0, expected - len(times_ms))
    return missing


def phase_seconds(seconds: float, runs: int) -> float:
    """How long each of two phases of a run is: whole windows of the pipeline, one at least.

    Each phase has as many windows as any other then.
    """
    return max(1, round(seconds / (2 * runs * INTERVAL_SECONDS))) * INTERVAL_SECONDS


@dataclass(slots=True)
class _Watch:
    """A contender that runs, and what its sink has shown of it."""

    contender: Contender
    processes: Processes
    seen: dict[tuple[str, int], float] = field(default_factory=dict)

    def look(self) -> int:
        """Note what is there for the first time, and how old it is; how many jobs were seen."""
        now = time.time()
        url, suffix = self.processes.sink.url, self.contender.name_suffix
        for key in stamps_of(url, now - _REACH_SECONDS, suffix):
            self.seen.setdefault(key, now - key[1] / 1000)
        return len({job for job, _ in self.seen})

    def parts(self) -> Mapping[str, Sequence[Server]]:
        """Its processes by what they are for."""
        found = self.processes
        parts = {"tool": found.tool, "source": found.source, "sink": (found.sink,)}
        return {name: part for name, part in parts.items() if part}


def measure(toolbox: Toolbox, *, seconds: float, runs: int, say: Say) -> dict[str, Any]:
    """The figures of each contender, all of which run at the same time.

    A run is a phase in which nobody else asks the sinks, for the processor time, and one in which
    they are asked five times a second, for the latencies. Names: ``cpu.tool|source|sink|all``
    (CPU-seconds per million samples, what the processes take for being there included),
    ``memory.tool|source|sink`` (bytes, all processes of that part),
    ``latency_p50|p99_seconds`` (from a sample's timestamp until its sink shows it), and
    ``samples_timed``. vmagent has no source.
    """
    length = phase_seconds(seconds, runs)
    with (
        kept_servers("bench-live-peers-") as (folder, servers),
        exporter(SCRAPE.series_of_a_job) as target,
    ):
        watches = {
            name: _started(toolbox, folder / name, target, servers, contender)
            for name, contender in CONTENDERS.items()
        }
        wait_until(
            lambda: all(seen == JOBS for seen in _look(watches)),
            deadline_seconds=_START_SECONDS,
            what="samples of each job in each sink",
            poll_seconds=_POLL_SECONDS,
        )
        began = time.time()
        # What was scraped before everything was up came late for that reason.
        _pass(INTERVAL_SECONDS)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in watches}
        for number in range(1, runs + 1):
            say(f"live-peers: run {number} of {runs}, {length:g} s for each of its two phases")
            cost = _cost(watches, length)
            latencies = _latencies(watches, length)
            load = {"load_average": load_average()}
            for name in watches:
                found[name].append(cost[name] | latencies[name] | load)
        stamps = {
            name: stamps_of(watch.processes.sink.url, began, watch.contender.name_suffix)
            for name, watch in watches.items()
        }
    return {
        "series": SERIES,
        "interval_seconds": SCRAPE.interval_seconds,
        "window_seconds": INTERVAL_SECONDS,
        "phase_seconds": length,
        "runs": runs,
        "contenders": {
            name: {
                "title": contender.title,
                "proves": contender.proves,
                "after_a_stop": contender.after_a_stop,
                "sink_away": contender.sink_away,
                "scrapes": len(stamps[name]),
                "missing_scrapes": missing_scrapes(stamps[name], SCRAPE.interval_seconds),
                "figures": {key: spread.as_json() for key, spread in spreads(found[name]).items()},
            }
            for name, contender in CONTENDERS.items()
        },
    }


def _started(
    toolbox: Toolbox, folder: Path, target: str, servers: list[Server], contender: Contender
) -> _Watch:
    sink = VictoriaServer(toolbox, folder / "sink", log_dir=folder / "logs")
    servers.append(sink)
    sink.start()
    return _Watch(contender, contender.start(Start(toolbox, folder, target, sink, servers)))


def _look(watches: Mapping[str, _Watch]) -> list[int]:
    """Look at each sink; how many jobs each has shown so far."""
    return [watch.look() for watch in watches.values()]


def _pass(seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Let so much time go by, and do that five times a second."""
    until = time.monotonic() + seconds

    def over() -> bool:
        meanwhile()
        return time.monotonic() >= until

    wait_until(over, deadline_seconds=seconds + 60, what="the end", poll_seconds=_POLL_SECONDS)


def _cost(watches: Mapping[str, _Watch], seconds: float) -> dict[str, dict[str, float]]:
    meters = {
        (name, part): Meter({server.name: server.pid for server in processes})
        for name, watch in watches.items()
        for part, processes in watch.parts().items()
    }
    _pass(seconds)
    found: dict[str, dict[str, float]] = {name: {} for name in watches}
    for (name, part), meter in meters.items():
        passed, cpu = meter.taken()
        scraped = SERIES * passed / SCRAPE.interval_seconds
        found[name][f"cpu.{part}"] = sum(cpu.values()) / scraped * 1e6
        memory_bytes = sum(server.rss_bytes() for server in watches[name].parts()[part])
        found[name][f"memory.{part}"] = float(memory_bytes)
    for figures in found.values():
        figures["cpu.all"] = sum(value for key, value in figures.items() if key.startswith("cpu."))
    return found


def _latencies(watches: Mapping[str, _Watch], seconds: float) -> dict[str, dict[str, float]]:
    _look(watches)  # what came while nobody asked: how late cannot be told
    before = {name: set(watch.seen) for name, watch in watches.items()}
    _pass(seconds, lambda: _look(watches))
    found = {}
    for name, watch in watches.items():
        late = [seconds for key, seconds in watch.seen.items() if key not in before[name]]
        if not late:
            raise StackError(f"{watch.contender.title}: no sample came in {seconds:g} s")
        p50, p99 = np.percentile(late, (50, 99))
        found[name] = {
            "latency_p50_seconds": float(p50),
            "latency_p99_seconds": float(p99),
            "samples_timed": float(len(late)),
        }
    return found
