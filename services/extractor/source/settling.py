"""Whether samples are left to settle for long enough, by what the source reports of itself."""

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


@dataclass
class SettleCheck:
    """Compares ``settle_seconds`` with the source's intervals, once for each run of it.

    A run ends with a restart or a reload of the configuration.
    """

    plans: Sequence[Plan]
    scrape_settings: Callable[[], ScrapeSettings]
    telemetry: Telemetry
    _run: ServerRun | None = field(default=None, init=False)
    _attempts: int = field(default=0, init=False)

    def __call__(self, source: SourceCheck) -> None:
        """Check, unless this run of the server was checked already."""
        if source.run != self._run:
            self._run, self._attempts = source.run, 0
        if self._attempts >= MOST_ATTEMPTS:
            return
        self._attempts += 1
        try:
            settings = self.scrape_settings()
        except SourceError as error:
            self.telemetry.emit("settle_unchecked", error=str(error))
            return
        self._attempts = MOST_ATTEMPTS
        for plan in self.plans:
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
