"""Whether a service lives (its loop ticks) and is ready (its dependencies serve it)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of readiness; ``valid_until`` is an instant of the health's clock."""

    ok: bool
    detail: str
    valid_until: float = inf


class Health:
    """Ticks and checks of one service; safe to use from several threads.

    ``clock`` gives seconds and never runs backwards. The service lives while its latest tick (at
    first, its start) is at most ``live_seconds`` old. It is ready while it has said something about
    its dependencies, all of it good and none of it out of date, and is not stopping.
    """

    def __init__(self, live_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._live_seconds = live_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._ticked = clock()
        self._checks: dict[str, Check] = {}
        self._stopping = False

    def tick(self) -> None:
        """The loop goes round."""
        self._ticked = self._clock()

    def set_ready(self, name: str, ok: bool, detail: str = "", valid_seconds: float = inf) -> bool:
        """Note what ``name`` says about readiness; True when that differs in ``ok`` from before.

        After ``valid_seconds`` without another word the check fails: who makes it may have died.
        """
        with self._lock:
            before = self._checks.get(name)
            self._checks[name] = Check(ok, detail, self._clock() + valid_seconds)
        return before is None or before.ok != ok

    def stopping(self) -> None:
        """The service is stopping: it is not ready any more."""
        self._stopping = True

    def tick_age_seconds(self) -> float:
        """Seconds since the latest tick."""
        return max(0.0, self._clock() - self._ticked)

    def live(self) -> bool:
        """Whether the loop has ticked lately."""
        return self.tick_age_seconds() <= self._live_seconds

    def ready(self) -> bool:
        """Whether all checks are good, there is one, and the service is not stopping."""
        return self._is_ready(self.checks())

    def _is_ready(self, checks: Mapping[str, Check]) -> bool:
        are_good = bool(checks) and all(check.ok for check in checks.values())
        return are_good and not self._stopping

    def checks(self) -> dict[str, Check]:
        """Every check by its name; one that is out of date has failed."""
        with self._lock:
            checks = dict(self._checks)
        now = self._clock()
        return {
            name: check
            if now <= check.valid_until
            else Check(False, f"not checked for {now - check.valid_until:.0f} s longer than usual")
            for name, check in checks.items()
        }

    def healthy(self) -> bool:
        """Live and ready."""
        return self.live() and self.ready()

    def live_report(self) -> dict[str, Any]:
        """What /livez shows."""
        return {
            "live": self.live(),
            "tick_age_seconds": round(self.tick_age_seconds(), 3),
            "live_seconds": self._live_seconds,
        }

    def ready_report(self) -> dict[str, Any]:
        """What /readyz shows."""
        checks = self.checks()
        return {
            "ready": self._is_ready(checks),
            "stopping": self._stopping,
            "checks": {
                name: {"ok": check.ok, "detail": check.detail} for name, check in checks.items()
            },
        }
