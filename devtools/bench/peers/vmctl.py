"""vmctl: Prometheus' remote read, streamed as chunks, into VictoriaMetrics."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from common.errors import StackError
from devtools.bench.data import JOB
from devtools.bench.machine import Meter, beyond_idle, cpu_seconds
from devtools.bench.rig import Rig

_DEADLINE_SECONDS = 900.0
_POLL_SECONDS = 0.02


def command(program: Path, source: str, sink: str, start_ms: int, end_ms: int) -> Sequence[str]:
    """A range by streamed chunks, an hour at a time; that is the length of our windows too.

    All else is its default. Days at a time, or two readers, were no faster here.
    """
    return [
        str(program),
        "remote-read",
        "-s",
        "--disable-progress-bar",
        "--remote-read-use-stream",
        "--remote-read-step-interval=hour",
        f"--remote-read-src-addr={source}",
        "--remote-read-filter-label=job",
        f"--remote-read-filter-label-value={JOB}",
        f"--remote-read-filter-time-start={_rfc3339(start_ms)}",
        f"--remote-read-filter-time-end={_rfc3339(end_ms)}",
        f"--vm-addr={sink}",
    ]


def run(rig: Rig) -> dict[str, float]:
    """One run over the whole dataset of ``rig``, starting included.

    Names of the figures are those of :func:`history.measure`. Raises :class:`StackError` when it
    fails or says that it moved another number of samples.
    """
    rig.fresh_bucket()
    at_rest = rig.settle()
    program, dataset = rig.toolbox.program("vmctl"), rig.dataset
    log = rig.log_dir / "vmctl.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = command(
        program.path, rig.prometheus.url, rig.sink_url, dataset.start_ms, dataset.end_ms
    )
    meter = Meter({"source": rig.prometheus.pid, **rig.sink_pids})
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=program.environment(),
        )
        try:
            taken, memory_bytes = watched(process)
        finally:
            process.kill()
            process.wait()
    seconds, cpu = meter.taken()
    text = log.read_text(encoding="utf-8", errors="replace")
    if process.returncode or moved_samples(text) != dataset.points:
        raise StackError(f"vmctl ended with {process.returncode} and said: {text[-600:]}")
    cpu = beyond_idle(seconds, cpu, at_rest)
    return {
        "points": float(dataset.points),
        "points_per_second": dataset.points / seconds,
        "cpu.tool": taken / dataset.points * 1e6,
        "cpu.source": cpu.pop("source") / dataset.points * 1e6,
        "cpu.sink": sum(cpu.values()) / dataset.points * 1e6,
        "memory.tool": float(memory_bytes),
    }


def watched(process: subprocess.Popen[bytes]) -> tuple[float, int]:
    """Wait until it has ended: its CPU-seconds, and its memory at the most.

    Memory is looked at every 20 ms: what the kernel reports of a child that has ended may be that
    of its parent.
    """
    memory_bytes = 0
    found = psutil.Process(process.pid)
    deadline = time.monotonic() + _DEADLINE_SECONDS
    # What has ended is a zombie until it is waited for: its clock can still be read.
    while found.status() != psutil.STATUS_ZOMBIE:
        memory_bytes = max(memory_bytes, int(found.memory_info().rss))
        if time.monotonic() > deadline:
            raise StackError(f"a peer did not end within {_DEADLINE_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)
    return cpu_seconds(process.pid), memory_bytes


def moved_samples(text: str) -> int | None:
    """How many samples its statistics say that it has imported."""
    found = re.search(r"total samples: (\d+);", text)
    return int(found[1]) if found else None


def _rfc3339(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
