"""A source in memory and an extractor on real Redis."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import cast

import numpy as np
from prometheus_client import CollectorRegistry
from redis import Redis

from common.config import ExtractSettings, Query
from common.errors import (
    SourceError,
)
from common.runtime.logs import EventLog
from common.runtime.telemetry import Telemetry
from common.samples.batch import SampleBatch
from common.samples.columns import Samples
from common.state.keys import RAW, Keys
from common.state.ledger import Ledger
from common.state.stream import RedisStream
from common.state.windows import Feed, Window, WindowClass, WindowSet
from services.extractor.extract import Extractor, Outcome, SourceState
from services.extractor.history import ServerRun, SourceHistory
from services.extractor.prometheus import PrometheusClient
from services.extractor.staging import EntryBuilder
from services.extractor.windows import Plan

KEYS = Keys("x")
STEP_MS = 1000
LABELS = b'{"__name__":"m","i":"%d"}'
SETTINGS = ExtractSettings(prometheus_url="http://127.0.0.1:9", entry_samples=100)


class Source:
    """Returns for every window ``series`` series of one sample a step, or with ``failure``."""

    def __init__(self, series: int = 1) -> None:
        self.series = series
        self.now = 100 * STEP_MS
        self.lowest: int | None = None
        self.reads: list[tuple[int, int]] = []
        self.failure: SourceError | None = None
        self.fail_above_ms = 0
        # Only what holds a time of these fails, if there are any.
        self.bad_ms: range | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        # Native ones: each step has one of each of so many series.
        self.histograms = 0
        # Up to when it has samples by now.
        self.until_ms: Callable[[], int] = lambda: 1 << 62

    def now_ms(self) -> int:
        return self.now

    def run(self) -> ServerRun | None:
        return None

    def lowest_timestamp_ms(self) -> int | None:
        return self.lowest

    def read(self, query: Query, start_ms: int, end_ms: int) -> Iterable[Samples]:
        self.reads.append((start_ms, end_ms))
        return self._blocks(start_ms, end_ms)

    def _blocks(self, start_ms: int, end_ms: int) -> Iterator[Samples]:
        times = np.arange(
            start_ms + STEP_MS, min(end_ms, self.until_ms()) + 1, STEP_MS, dtype=np.int64
        )
        for number in range(self.series):
            yield Samples(
                (LABELS % number,), np.array([len(times)]), times, times.astype(np.float64)
            )
            self.meanwhile()
        for _ in range(self.histograms):
            yield replace(Samples.empty(), histograms_ms=times)
        bad = self.bad_ms is None or any(time in self.bad_ms for time in times.tolist())
        if self.failure is not None and bad and end_ms - start_ms > self.fail_above_ms:
            raise self.failure


class Rig:
    def __init__(
        self,
        redis: Redis,
        source: Source,
        builder: EntryBuilder | None = None,
        *,
        logger: EventLog | None = None,
        max_open: int = 16,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        query = Query(name="q", expr="m", step=STEP_MS / 1000)
        self.plan = Plan(
            Feed("q", "hot", "expr", "f"), query, STEP_MS, 0, 50_000, 1_000_000, 240_000
        )
        self.source = source
        self.redis = redis
        self.windows = WindowSet(redis, KEYS, lease_seconds=60, max_open=max_open, now_ms=now_ms)
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry("extractor", self.registry, logger=logger)
        self.history = SourceHistory(cast(PrometheusClient, source))
        self.states: list[SourceState] = []
        self.ticks, self.seconds = 0, 0.0
        self.extractor = Extractor(
            self.windows,
            source.read,
            self.history,
            builder or EntryBuilder(SETTINGS.entry_samples),
            SETTINGS,
            self.telemetry,
            on_source=self.states.append,
            tick=self._tick,
            clock=lambda: self.seconds,
            rng=random.Random(1),
        )

    def lease(
        self,
        head_ms: int = 10 * STEP_MS,
        longest_ms: int = 10**9,
        window_class: WindowClass = "live",
    ) -> Window:
        self.windows.plan(self.plan.feed, 0, head_ms)
        live_ms = 10**9 if window_class == "live" else 0
        window = self.windows.lease(self.plan.feed, window_class, live_ms, longest_ms)
        assert window is not None
        return window

    def _tick(self) -> None:
        self.ticks += 1

    def run(self, window: Window, origin_ms: int = 0) -> Outcome:
        return self.extractor.run(self.plan, window, origin_ms)

    def entries(self) -> list[SampleBatch]:
        stream = RedisStream(self.redis, KEYS, RAW, "reader")
        stream.ensure()
        return [SampleBatch.decode(entry.payload) for entry in stream.read(1000, 0.01)]

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    @property
    def status(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        found = self.windows.status()["q@hot"]
        return list(found.backlog), list(found.open)

    def extracted(self) -> int:
        """Samples that the ledger counts as extracted; it must balance."""
        audit = Ledger(self.redis, KEYS).audit()
        assert audit.imbalance_samples == 0
        assert audit.staged_bytes == 0, "nothing is left behind"
        return audit.total.extracted
