"""How long samples are left to settle, by what the source reports of itself.

Where the configuration has a number, that holds, and is compared with what the source needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from common.errors import SourceError
from common.runtime.telemetry import Telemetry
from services.extractor.history import ServerRun, SourceCheck
from services.extractor.source.scrape_settings import ScrapeSettings
from services.extractor.windows import Plan

# Turns in which a server that does not respond is asked, for each of its runs.
MOST_ATTEMPTS = 3
# Targets come and go within a run.
ASK_AGAIN_MS = 600_000


@dataclass
class SettleCheck:
    """Sets how long plans settle, or compares what is configured, for each run of the source.

    A run ends with a restart or a reload of the configuration. A head never moves back: where
    samples take longer to settle from now on, it waits; where they take less, the next window is
    longer. Until the server has told, a plan keeps what it has.
    """

    plans: Sequence[Plan]
    scrape_settings: Callable[[], ScrapeSettings]
    telemetry: Telemetry
    _run: ServerRun | None = field(default=None, init=False)
    _attempts: int = field(default=0, init=False)
    _asked_ms: int = field(default=0, init=False)
    _last: ScrapeSettings | None = field(default=None, init=False)

    def __call__(self, source: SourceCheck) -> None:
        """Ask the server, unless this run of it has told a moment ago."""
        passed_ms = source.now_ms - self._asked_ms
        if source.run != self._run or not 0 <= passed_ms < ASK_AGAIN_MS:
            self._run, self._attempts, self._asked_ms = source.run, 0, source.now_ms
        if self._attempts >= MOST_ATTEMPTS:
            return
        self._attempts += 1
        try:
            settings = self.scrape_settings()
        except SourceError as error:
            self.telemetry.emit("settle_unchecked", error=str(error))
            return
        self._attempts = MOST_ATTEMPTS
        if settings == self._last:
            return
        self._last = settings
        for plan in self.plans:
            if plan.settles_by_source:
                plan.settle(settings.settle(plan.query))
            self._compare(plan, settings)

    def _compare(self, plan: Plan, settings: ScrapeSettings) -> None:
        needed_seconds = settings.needed_seconds(plan.query)
        if needed_seconds is None:
            error = "the source reports no scrape interval"
            self.telemetry.emit("settle_unchecked", **plan.feed.labels, error=error)
            return
        missing_seconds = max(0.0, needed_seconds - plan.settle_ms / 1000)
        self.telemetry.set("etl_settle_missing_seconds", missing_seconds, **plan.feed.labels)
        if missing_seconds:
            self.telemetry.emit(
                "settle_too_short",
                **plan.feed.labels,
                settle_seconds=plan.settle_ms / 1000,
                needed_seconds=round(needed_seconds, 3),
            )
