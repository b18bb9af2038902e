"""What one input may cost: processor time for each, address space for all."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Processor time, not wall time: a busy machine is no defect.
INPUT_CPU_SECONDS = 2.0
MEMORY_BYTES = 1 << 30


class Hang(BaseException):
    """An input takes too long. No ``except Exception`` under test shall swallow it."""


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang(f"more than {INPUT_CPU_SECONDS:g} s of processor time")


@contextmanager
def input_limit() -> Iterator[None]:
    """Raise :class:`Hang` in what takes longer; only in the main thread."""
    before = signal.signal(signal.SIGPROF, _hang)
    signal.setitimer(signal.ITIMER_PROF, INPUT_CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def bound_memory(more_bytes: int = MEMORY_BYTES) -> None:
    """Let this process map only so much more than it has now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + more_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
