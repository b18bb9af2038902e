"""A source of samples in memory, and what compares it with what was committed, on real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
from prometheus_client import CollectorRegistry
from redis import Redis

from common.config import Query
from common.errors import QueryRejected, QueryTooLarge, SourceUnavailable
from common.runtime.telemetry import Telemetry
from common.samples.columns import Samples
from common.samples.digest import Digest
from common.state.keys import Keys
from common.state.windows import Feed, WindowSet
from services.extractor.history import ServerRun, SourceHistory
from services.extractor.planner import Planner
from services.extractor.prometheus import PrometheusClient
from services.extractor.recheck import Rechecker
from services.extractor.windows import Plan

KEYS = Keys("r")
STEP_MS = 1000
AFTER_SECONDS = (60.0, 600.0, 3600.0)
EXPR_FEED = Feed("rule", "hot", "expr", "f")
EXPR_PLAN = Plan(
    EXPR_FEED, Query(name="rule", expr="sum(m)", step=1), STEP_MS, 0, 20_000, 10_000, 240_000
)
FEED = Feed("raw", "hot", "select", "f")
PLAN = Plan(FEED, Query(name="raw", select="m"), STEP_MS, 0, 20_000, 10_000, 240_000)


class FakeClock:
    ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


class Source:
    """Samples are times; a window holds those within it."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.counted: list[tuple[int, int]] = []
        self.largest_ms = 10**9
        self.now = 100 * STEP_MS
        self.lowest: int | None = -(10**9)
        self.away = False
        self.refused = (0, 0)

    def count_in(self, query: Query, start_ms: int, end_ms: int) -> int:
        self.counted.append((start_ms, end_ms))
        if self.away:
            raise SourceUnavailable("503")
        if (start_ms, end_ms) == self.refused:
            raise QueryRejected("no such function")
        if end_ms - start_ms > self.largest_ms:
            raise QueryTooLarge("too many samples")
        return sum(start_ms < time_ms <= end_ms for time_ms in self.times)

    def read(self, query: Query, start_ms: int, end_ms: int) -> Iterator[Samples]:
        """The sum up to each step, as an expression of it would be."""
        self.counted.append((start_ms, end_ms))
        if self.away:
            raise SourceUnavailable("503")
        times = np.arange(start_ms + STEP_MS, end_ms + 1, STEP_MS, dtype=np.int64)
        values = [float(sum(one <= time for one in self.times)) for time in times]
        for half in (slice(None, None, 2), slice(1, None, 2)):  # in no order of time
            part = times[half]
            yield Samples((b"{}",), np.array([len(part)]), part, np.array(values[half]))

    def now_ms(self) -> int:
        return self.now

    def run(self) -> ServerRun | None:
        return None

    def lowest_timestamp_ms(self) -> int | None:
        return self.lowest


class Rig:
    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.clock = FakeClock()
        self.windows = WindowSet(redis, KEYS, now_ms=self.clock)
        self.source = Source()
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry("extractor", self.registry)
        self.history = SourceHistory(cast(PrometheusClient, self.source))
        self.rechecker = Rechecker(
            self.windows,
            lambda plan, start_ms, end_ms: self.source.count_in(plan.query, start_ms, end_ms),
            lambda plan, start_ms, end_ms: self.source.read(plan.query, start_ms, end_ms),
            self.history,
            self.telemetry,
            AFTER_SECONDS,
            lambda _: 0,
        )

    def commit_all(self, head_ms: int) -> None:
        """Extract everything up to ``head_ms`` in windows of ten steps."""
        self.windows.plan(FEED, 0, head_ms)
        while window := self.windows.lease(FEED, "live", 10**12, 10 * STEP_MS):
            samples = sum(window.start_ms < t <= window.end_ms for t in self.source.times)
            staged = [self.windows.stage(b"p", samples, 60)] if samples else []
            status = self.windows.commit(
                FEED, window, staged, recheck_after_seconds=AFTER_SECONDS, source_samples=samples
            )
            assert status == "committed"

    def commit_expr(self, head_ms: int) -> None:
        """The same of the expression, one step each."""
        self.windows.plan(EXPR_FEED, 0, head_ms)
        while window := self.windows.lease(EXPR_FEED, "live", 10**12, STEP_MS):
            digest = Digest()
            for block in self.source.read(EXPR_PLAN.query, window.start_ms, window.end_ms):
                digest.add(block)
            status = self.windows.commit(
                EXPR_FEED,
                window,
                [],
                recheck_after_seconds=AFTER_SECONDS,
                source_samples=digest.samples,
                digest=digest.sums,
            )
            assert status == "committed"
        self.source.counted.clear()

    def backlog(self, feed: str = "raw@hot") -> list[tuple[int, int]]:
        return list(self.windows.status()[feed].backlog)

    def pending(self, feed: Feed = FEED) -> int:
        return int(self.redis.zcard(KEYS.rechecks(feed.name)))

    def later(self, seconds: float) -> None:
        self.clock.ms += round(seconds * 1000)

    def abandoned(self, query: str = "raw") -> float:
        labels = {"query": query, "tier": "hot"}
        return self.registry.get_sample_value("etl_rechecks_abandoned_total", labels) or 0.0

    def planner(self) -> Planner:
        return Planner(
            [PLAN],
            self.windows,
            self.history,
            self.telemetry,
            close_after_seconds=60,
        )
