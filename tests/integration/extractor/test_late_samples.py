"""What comes late to a real Prometheus is loaded, and so is what an expression makes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from common.config import ExtractSettings, Query
from common.runtime.telemetry import Telemetry
from common.samples.batch import SampleBatch
from common.state.keys import RAW, Keys
from common.state.ledger import Ledger
from common.state.stream import RedisStream
from common.state.windows import Feed, WindowSet
from devtools.servers.prometheus_server import PrometheusServer
from services.extractor.extract import Extractor, Outcome
from services.extractor.history import SourceHistory
from services.extractor.prometheus import PrometheusClient
from services.extractor.recheck import Rechecker
from services.extractor.staging import EntryBuilder
from services.extractor.windows import Plan
from tests.integration.extractor.test_prometheus_pushed import push, sample, series

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
            client.count_in,
            client.read,
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
        batches = [SampleBatch.decode(entry.payload) for entry in self.stream.read(1000, 0.01)]
        return {
            (int(time) - origin_ms) // STEP_MS: float(value)
            for batch in batches
            for time, value in zip(batch.samples.timestamps_ms, batch.samples.values, strict=True)
        }


QUERIES = (
    pytest.param(Query(name="sum", expr="sum(x)", step=1), [(30, 30, 5.0)], id="expr"),
    pytest.param(Query(name="raw", select="x").bound(1, {}), [(30, 1, 2.0)], id="select"),
)


@pytest.mark.parametrize(("query", "expected"), QUERIES)
def test_what_came_late_is_loaded_at_the_recount_that_follows(
    redis_client: Redis,
    make_prometheus: Callable[..., PrometheusServer],
    query: Query,
    expected: list[tuple[int, int, float]],
) -> None:
    server = make_prometheus(flags=("--web.enable-remote-write-receiver",))
    rig = Rig(redis_client, server, query)
    origin_ms = rig.now_ms - STEPS * STEP_MS
    times = [origin_ms + step * STEP_MS for step in range(1, STEPS + 1)]
    push(server, series({"__name__": "x", "n": "1"}, [sample(ms, 3) for ms in times]))
    assert set(rig.extract().values()) == {3.0}
    rig.redis_ms += round(rig.after_seconds[0] * 1000)
    assert rig.rechecker.run(rig.plan) == 0
    # After the first recount a series arrives, half a minute late.
    push(server, series({"__name__": "x", "n": "2"}, [sample(times[30], 2)]))

    rig.redis_ms += round(rig.after_seconds[1] * 1000)
    assert rig.rechecker.run(rig.plan) == 1
    again = rig.extract()

    ((first, steps, value),) = expected
    changed = {step for step, found in again.items() if found == value}
    assert changed <= set(range(first + 1, first + 1 + steps))
    assert len(changed) == steps
    rig.redis_ms += round(rig.after_seconds[2] * 1000)
    assert rig.rechecker.run(rig.plan) == 0
    assert redis_client.zcard(KEYS.rechecks(rig.plan.feed.name)) == 0
    assert Ledger(redis_client, KEYS).audit().imbalance_samples == 0
