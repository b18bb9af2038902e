"""Three tiers of one query, extracted from a source in memory on real Redis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from redis import Redis

from common.config import Query
from common.samples.columns import Samples
from common.samples.rollup import Rollup
from common.state.windows import Feed, FeedStatus, Recheck, Window
from services.extractor.extract import Outcome
from services.extractor.siblings import lease_siblings
from services.extractor.staging import EntryBuilder
from services.extractor.window_lengths import WindowLengths
from services.extractor.window_reader import Taken
from services.extractor.windows import Plan
from tests.integration.extractor.extraction_world import KEYS, STEP_MS, Rig, Source
from tests.integration.state.worlds import FakeClock

WINDOW_MS = 600 * STEP_MS
HEAD_MS = 4 * WINDOW_MS
LEAD_IN_MS = 300 * STEP_MS
TIERS: dict[str, tuple[int, Rollup | None]] = {
    "hot": (STEP_MS, None),
    "warm": (60 * STEP_MS, Rollup.of(60 * STEP_MS, ["max", "increase"])),
    "cold": (WINDOW_MS, Rollup.of(WINDOW_MS, ["count"])),
}


def plan_of(tier: str, query: Query) -> Plan:
    step_ms, rollup = TIERS[tier]
    feed = Feed(query.name, tier, query.kind, "f")
    head_ms = STEP_MS if rollup is None else WINDOW_MS
    return Plan(feed, query, step_ms, 0, 10**7, 0, WINDOW_MS, rollup=rollup, head_step_ms=head_ms)


class ShortSource(Source):
    """It has nothing at or before ``lowest``, series come in two blocks each, some have holes."""

    def _blocks(self, start_ms: int, end_ms: int) -> Iterator[Samples]:
        for number, block in enumerate(super()._blocks(start_ms, end_ms)):
            times_ms = block.timestamps_ms
            there = times_ms > (self.lowest or 0)
            if number % 2:  # what has a sample in some windows only
                there &= times_ms // WINDOW_MS % 2 == 0
            block = replace(block.where(there), histograms_ms=block.histograms_ms)
            for late in (False, True):
                part = (block.timestamps_ms > (start_ms + end_ms) // 2) == late
                histograms_ms = block.histograms_ms if late else block.histograms_ms[:0]
                yield replace(block.where(part), histograms_ms=histograms_ms)


class Tiers(Rig):
    """The feeds of one query, planned from 0 to ``HEAD_MS``."""

    def __init__(
        self,
        redis: Redis,
        *tiers: str,
        builder: EntryBuilder | None = None,
        expr: bool = False,
        series: int = 7,
    ) -> None:
        self.clock = FakeClock()
        source = ShortSource(series)
        source.now = HEAD_MS
        super().__init__(redis, source, builder, now_ms=self.clock)
        text = {"expr": "m", "step": STEP_MS / 1000} if expr else {"select": "m"}
        query = Query.model_validate({"name": "q", **text}).bound(1, {})
        self.plans = [plan_of(tier, query) for tier in tiers or TIERS]
        self.origins_ms = {plan.feed.name: 0 for plan in self.plans}
        for plan in self.plans:
            self.windows.plan(plan.feed, 0, HEAD_MS)

    def plan_for(self, tier: str) -> Plan:
        return next(plan for plan in self.plans if plan.feed.tier == tier)

    def take(self, tier: str) -> Window | None:
        plan = self.plan_for(tier)
        return self.windows.lease(plan.feed, "catchup", 0, WINDOW_MS)

    def siblings(self, tier: str, window: Window) -> list[Taken]:
        plan = self.plan_for(tier)
        return lease_siblings(
            self.windows, WindowLengths(), plan, window, self.plans, self.origins_ms.__getitem__
        )

    def extract(self, tier: str, *, shared: bool = True) -> tuple[Outcome, list[str]]:
        """The newest window of a tier, and which tiers went with it."""
        plan, window = self.plan_for(tier), self.take(tier)
        assert window is not None
        siblings = self.siblings(tier, window) if shared else []
        origin_ms = self.origins_ms[plan.feed.name]
        outcome = self.extractor.run(plan, window, origin_ms, siblings)
        return outcome, [one.plan.feed.tier for one in siblings]

    def extract_all(self, *, shared: bool) -> None:
        """Everything that is planned."""
        for plan in self.plans:
            while self.status_of(plan.feed.tier).backlog:
                assert self.extract(plan.feed.tier, shared=shared)[0] is Outcome.COMMITTED

    def status_of(self, tier: str) -> FeedStatus:
        return self.windows.status()[f"q@{tier}"]

    def content(self) -> dict[str, Any]:
        """All that commits have left in Redis, but for how samples are divided into entries."""
        windows: dict[Any, list[Any]] = defaultdict(list)
        for batch in self.entries():
            origin, samples = batch.origin, batch.samples
            series = np.repeat(np.array(samples.series), samples.counts).tolist()
            windows[origin.tier, origin.start_ms, origin.end_ms, origin.rollup] += zip(
                series, samples.timestamps_ms.tolist(), samples.values.tolist(), strict=True
            )
        self.extracted()
        return {
            "samples": {window: sorted(found) for window, found in windows.items()},
            "rechecks": {tier: self.rechecks(tier) for tier in TIERS},
            "ledger": self.redis.hgetall(KEYS.ledger),
        }

    def rechecks(self, tier: str) -> list[Recheck]:
        found: Any = self.redis.zrange(KEYS.rechecks(f"q@{tier}"), 0, -1)
        return sorted(Recheck.parse(member.decode()) for member in found)
