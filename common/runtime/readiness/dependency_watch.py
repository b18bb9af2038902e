"""Readiness follows each dependency, whatever the service's own loop is doing.

A loop that waits, works or backs off says nothing about its dependencies meanwhile. So each of them
is probed by a thread of its own, over a connection of its own, and a probe that hangs fails the
check as well: what it said last is out of date then. What has just served the process otherwise is
not probed until as much time has passed as between two probes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Protocol

from common.config import PipelineSettings

PROBE_AT_MOST_EVERY_SECONDS = 7.5
PROBE_AT_LEAST_EVERY_SECONDS = 0.25
# How much sooner one that does not serve us is probed again.
_SOONER = 2
# Probes that may be missing before what the last one said is out of date.
_MISSED = 2
_DETAIL_CHARS = 300


class SetReady(Protocol):
    """:meth:`common.runtime.process.Process.set_ready`."""

    def __call__(
        self, name: str, ok: bool, detail: str = "", valid_seconds: float = ..., /
    ) -> object:
        """Set a check."""


@dataclass(frozen=True)
class Dependency:
    """``probe`` raises, with the reason as its text, while the dependency does not serve us.

    It takes at most ``timeout_seconds``. ``served_at``: when it served this process last, not
    asked by a probe, on the clock of ``time.monotonic``.
    """

    name: str
    probe: Callable[[], object]
    timeout_seconds: float
    served_at: Callable[[], float] = lambda: -inf


def probe_every_seconds(pipeline: PipelineSettings) -> float:
    """Twice in each interval, and every few seconds at least."""
    half_seconds = pipeline.interval_seconds / 2
    return min(PROBE_AT_MOST_EVERY_SECONDS, max(PROBE_AT_LEAST_EVERY_SECONDS, half_seconds))


def watch(
    dependency: Dependency, every_seconds: float, stop: threading.Event, set_ready: SetReady
) -> threading.Thread:
    """Probe the dependency until ``stop`` is set, in a thread that was started."""
    name = dependency.name
    valid_seconds = _MISSED * (every_seconds + dependency.timeout_seconds)

    def run() -> None:
        while not stop.is_set():
            try:
                wait_seconds = dependency.served_at() + every_seconds - time.monotonic()
                if wait_seconds <= 0:
                    wait_seconds = every_seconds
                    dependency.probe()
            # Whatever it is: a thread that dies of it would leave the check as it was.
            except Exception as error:
                detail = str(error) or type(error).__name__
                set_ready(name, False, detail[:_DETAIL_CHARS], valid_seconds)
                wait_seconds = every_seconds / _SOONER
            else:
                set_ready(name, True, "", valid_seconds)
            stop.wait(wait_seconds)

    set_ready(name, False, "not checked yet", valid_seconds)
    thread = threading.Thread(target=run, name=f"watch-{name}", daemon=True)
    thread.start()
    return thread
