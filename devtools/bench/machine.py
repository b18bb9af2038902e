"""The machine that figures are of, how busy it was, and the processor time that processes take."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_average() -> float:
    """Processes that wanted a core, on average over the last minute, ours included."""
    return round(os.getloadavg()[0], 2)


def describe() -> dict[str, Any]:
    """What a reader must know to compare figures of two machines."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name where Linux reports it."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has taken so far, user and system; 10 ms is its grain."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def busy_seconds() -> float:
    """Processor time that the whole machine has spent on work so far."""
    times = psutil.cpu_times()
    # Time of guests is part of user time already; stolen time was somebody else's.
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


class Meter:
    """Processor time that named processes take between two instants."""

    def __init__(
        self,
        pids: Mapping[str, int],
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[int], float] = cpu_seconds,
        busy: Callable[[], float] = busy_seconds,
    ) -> None:
        self._pids = dict(pids)
        self._clock = clock
        self._cpu = cpu
        self._busy = busy
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        self._began, self._busy_before = self._clock(), self._busy()
        self._before = {name: self._cpu(pid) for name, pid in self._pids.items()}

    def taken(self) -> tuple[float, dict[str, float]]:
        """Seconds that have passed, and CPU-seconds of each process in them."""
        seconds = self._clock() - self._began
        return seconds, {
            name: self._cpu(pid) - self._before[name] for name, pid in self._pids.items()
        }

    def others_cores(self) -> float:
        """Cores that all other processes have had, on average; the meter's own process is one."""
        seconds, cpu = self.taken()
        others = self._busy() - self._busy_before - sum(cpu.values())
        return max(0.0, others / seconds) if seconds > 0 else 0.0
