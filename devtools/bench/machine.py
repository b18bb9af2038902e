"""The machine that figures are of, how busy it was, and the processor time that processes take."""

from __future__ import annotations

import os
import platform
import sys
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


# Of clock_getcpuclockid(3): the clock of what the scheduler gave to all threads of a process.
_CPUCLOCK_SCHED = 2


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has taken so far, user and system.

    Where it is not Linux, 10 ms is its grain.
    """
    if sys.platform == "linux":
        try:
            return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)
        except OSError:
            pass  # there is no such process: psutil says so
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def busy_seconds() -> float:
    """Processor time that the whole machine has spent on work so far."""
    times = psutil.cpu_times()
    # Time of guests is part of user time already; stolen time was somebody else's.
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def beyond_idle(
    seconds: float, cpu: Mapping[str, float], idle_cores: Mapping[str, float]
) -> dict[str, float]:
    """CPU-seconds of each process without what it takes in so many seconds for doing nothing.

    A run that takes longer, because the machine is busy, would else cost more.
    """
    return {
        name: max(0.0, taken - idle_cores.get(name, 0.0) * seconds) for name, taken in cpu.items()
    }


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

    @property
    def seconds(self) -> float:
        """How long it has counted."""
        return self._clock() - self._began

    def taken(self) -> tuple[float, dict[str, float]]:
        """Seconds that have passed, and CPU-seconds of each process in them."""
        return self.seconds, {
            name: self._cpu(pid) - self._before[name] for name, pid in self._pids.items()
        }

    def idle_cores(self) -> dict[str, float]:
        """Cores that each process has had, on average, while nothing was asked of it."""
        seconds, cpu = self.taken()
        return {name: taken / seconds for name, taken in cpu.items()}

    def others_cores(self) -> float:
        """Cores that all other processes have had, on average; the meter's own process is one."""
        seconds, cpu = self.taken()
        others = self._busy() - self._busy_before - sum(cpu.values())
        return max(0.0, others / seconds) if seconds > 0 else 0.0
