"""An extractor on real Redis, and a real Prometheus that samples are pushed into."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from redis import Redis

from common.config import ExtractSettings, Query
from common.runtime.telemetry import Telemetry
from common.samples.batch import SampleBatch
from common.state.keys import RAW, Keys
from common.state.stream import RedisStream
from common.state.windows import Feed, WindowSet
from devtools.servers.prometheus_server import PrometheusServer
from services.extractor.extract import Extractor, Outcome
from services.extractor.history import SourceHistory
from services.extractor.prometheus import PrometheusClient
from services.extractor.recheck import Rechecker
from services.extractor.staging import EntryBuilder
from services.extractor.windows import Plan

KEYS = Keys("late")
STEP_MS = 1000
STEPS = 60


class Rig:
    def __init__(self, redis: Redis, server: PrometheusServer, query: Query) -> None:
        settings = ExtractSettings(prometheus_url=server.url)
        client = PrometheusClient(settings)
        history = SourceHistory(client)
        telemetry = Telemetry("extractor", CollectorRegistry())
        self.now_ms = client.now_ms() // STEP_MS * STEP_MS
        self.redis_ms = self.now_ms
        self.redis = redis
        self.windows = WindowSet(redis, KEYS, now_ms=lambda: self.redis_ms)
        self.plan = Plan(
            Feed(query.name, "hot", query.kind, "f"), query, STEP_MS, 0, 0, 10**9, 240 * STEP_MS
        )
        self.after_seconds = settings.recheck_after_seconds
        self.extractor = Extractor(
            self.windows, client.read, history, EntryBuilder(1000), settings, telemetry
        )
        self.rechecker = Rechecker(
            self.windows,
            lambda plan, start_ms, end_ms: client.count_in(plan.query, start_ms, end_ms),
            lambda plan, start_ms, end_ms: client.read(plan.query, start_ms, end_ms),
            history,
            telemetry,
            self.after_seconds,
            lambda _: self.now_ms - STEPS * STEP_MS,
        )
        stream = RedisStream(redis, KEYS, RAW, "reader")
        stream.ensure()
        self.stream = stream

    def extract(self) -> dict[int, float]:
        """What the windows that there are give: the value of each step from the origin."""
        origin_ms = self.now_ms - STEPS * STEP_MS
        self.windows.plan(self.plan.feed, origin_ms, self.now_ms)
        while window := self.windows.lease(self.plan.feed, "live", 10**12, 10 * STEP_MS):
            assert self.extractor.run(self.plan, window, origin_ms) is Outcome.COMMITTED
        return self.entries()

    def entries(self) -> dict[int, float]:
        """What the stream holds that was not read yet, in the same form."""
        origin_ms = self.now_ms - STEPS * STEP_MS
        batches = [SampleBatch.decode(entry.payload) for entry in self.stream.read(1000, 0.01)]
        return {
            (int(time) - origin_ms) // STEP_MS: float(value)
            for batch in batches
            for time, value in zip(batch.samples.timestamps_ms, batch.samples.values, strict=True)
        }
