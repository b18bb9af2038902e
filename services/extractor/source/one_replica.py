"""One of several replicas: what is known of it, and whether it scraped all the time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from common.errors import SourceUnavailable
from services.extractor.history import ServerRun
from services.extractor.prometheus import PrometheusClient
from services.extractor.source.scrape_settings import LATE_SHARE, ScrapeSettings, Target

TARGETS_KEPT_SECONDS = 60.0
# A job that is scraped has samples so near to any time, unless its server was down for longer.
ABOUT_MS = 3_600_000
# What may be written otherwise in the configuration.
_QUOTED = re.compile(r"""["'\\]""")
# Each target has a sample of it for each scrape: it stands for what an expression reads.
SCRAPES = "up"


@dataclass(slots=True)
class Replica:
    """What is known of one replica, as it said last."""

    client: PrometheusClient
    url: str
    lowest_ms: int | None = None
    run: ServerRun | None = None
    away_until: float = float("-inf")
    seen: bool = False
    scrapes: ScrapeSettings | None = None
    # What it scrapes, or would, most often first; empty where it does not say.
    targets: tuple[Target, ...] = ()
    targets_until: float = float("-inf")

    def holds(self, start_ms: int) -> bool:
        """Whether it has all after that time, for all that is known."""
        return self.lowest_ms is None or self.lowest_ms <= start_ms

    def was_down(self, start_ms: int, end_ms: int, now: float) -> bool:
        """Whether it did not scrape all the time then, as far as it says how it scrapes."""
        if now >= self.targets_until:
            targets = self.client.scrape_settings().targets
            self.targets = tuple(sorted(targets, key=lambda one: one.interval_seconds))
            self.targets_until = now + TARGETS_KEPT_SECONDS
        if not self.targets or self._scraped_throughout(self.targets[0], start_ms, end_ms):
            return False
        # A job without targets makes no scrapes. Which have some, the samples tell: a server that
        # was started a moment ago lists none.
        scraped = (one for one in self.targets if self._is_scraped(one, start_ms, end_ms))
        target = next(scraped, self.targets[0])
        if target.interval_seconds == self.targets[0].interval_seconds:
            return True
        return not self._scraped_throughout(target, start_ms, end_ms)

    def _is_scraped(self, target: Target, start_ms: int, end_ms: int) -> bool:
        """Whether it was about then; it counts as scraped where that is not to be told."""
        if target.any_job or _QUOTED.search(target.job):
            return True
        from_ms, to_ms = max(0, start_ms - ABOUT_MS), end_ms + ABOUT_MS
        return self.client.count_samples(f'{SCRAPES}{{job="{target.job}"}}', from_ms, to_ms) > 0

    def _scraped_throughout(self, target: Target, start_ms: int, end_ms: int) -> bool:
        every_ms = round(LATE_SHARE * target.interval_seconds * 1000)
        # That one is missing shows so long after the one before: perhaps behind the window alone.
        until_ms = max(end_ms, min(end_ms + every_ms, self.client.now_ms()))
        return self.client.has_throughout(SCRAPES, start_ms, until_ms, every_ms)


def lowest_ms_or_failure(client: PrometheusClient) -> int | SourceUnavailable | None:
    """The lowest timestamp of a replica, or why it does not tell it though it is not away."""
    try:
        return client.lowest_timestamp_ms()
    except SourceUnavailable as error:
        client.now_ms()  # fails where it is
        return error
