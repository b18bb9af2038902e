"""A real Prometheus whose older samples lie in a long-term store behind ``remote_read``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from common.config import ExtractSettings, Query
from common.state.windows import Feed
from devtools.servers.prometheus_server import PrometheusServer
from services.extractor.extract import Outcome
from services.extractor.history import SourceHistory
from services.extractor.planner import Planner
from services.extractor.prometheus import PrometheusClient
from services.extractor.source.older_history import OlderHistory
from services.extractor.windows import Plan
from tests.integration.extractor.extraction_world import STEP_MS, Rig, Source
from tests.support.captured_log import CapturedLog
from tests.support.remote_write import push, sample, series

FLAGS = ("--web.enable-remote-write-receiver",)
SAMPLES = 600
FRESH = 60
MakePrometheus = Callable[..., PrometheusServer]


class World:
    """A ``select`` with a sample a second; the one that is asked has the last minute itself."""

    def __init__(self, redis: Redis, make: MakePrometheus, *, long_term: bool) -> None:
        self.store = make(flags=FLAGS)
        remote = [{"url": f"{self.store.url}/api/v1/read", "read_recent": True}]
        self.asked = make(flags=FLAGS, settings={"remote_read": remote} if long_term else {})
        self.end_ms = int(time.time()) * 1000
        times = [self.end_ms - n * STEP_MS for n in range(SAMPLES)][::-1]
        labels = {"__name__": "pushed"}
        push(self.store, series(labels, [sample(ms, 1.0) for ms in times]))
        push(self.asked, series(labels, [sample(ms, 1.0) for ms in times[-FRESH:]]))
        self.log = CapturedLog()
        self.rig = Rig(redis, Source(), logger=self.log)

    def start(self) -> Planner:
        """What a process begins with: it remembers nothing."""
        rig = self.rig
        client = PrometheusClient(ExtractSettings(prometheus_url=self.asked.url))
        older = OlderHistory(client.answers_at)
        rig.history = rig.extractor.history = SourceHistory(
            client, now_ms=lambda: self.end_ms, older=older
        )
        rig.extractor.read = client.read
        query = Query(name="q", select="pushed").bound(1, {})
        feed = Feed("q", "hot", "select", "f")
        rig.plan = Plan(feed, query, STEP_MS, 0, SAMPLES * STEP_MS, 10**9, 60 * STEP_MS)
        return Planner([rig.plan], rig.windows, rig.history, rig.telemetry, 600.0)

    def extract(self, planner: Planner) -> list[Outcome]:
        rig, outcomes = self.rig, []
        planner.plan()
        origin_ms = planner.origin_ms(rig.plan.feed.name)
        while window := rig.windows.lease(rig.plan.feed, "catchup", 0, 60 * STEP_MS):
            outcomes.append(rig.extractor.run(rig.plan, window, origin_ms))
        return outcomes


def _told(world: World, event: str) -> list[dict[str, Any]]:
    return [line for line in world.log.lines if line["event"] == event]


@pytest.mark.parametrize("restarted", [False, True])
def test_the_lookback_is_taken_at_its_word(
    redis_client: Redis, make_prometheus: MakePrometheus, restarted: bool
) -> None:
    world = World(redis_client, make_prometheus, long_term=True)
    planner = world.start()
    if restarted:
        planner.plan()
        planner = world.start()

    assert set(world.extract(planner)) == {Outcome.COMMITTED}

    assert world.rig.extracted() == SAMPLES
    assert world.rig.windows.gaps("q@hot") == []
    (told,) = _told(world, "query_begins_before_source")
    assert told["origin_ms"] == world.end_ms - SAMPLES * STEP_MS


def test_time_without_samples_in_the_store_is_no_gap(
    redis_client: Redis, make_prometheus: MakePrometheus
) -> None:
    """An empty window says nothing of what the store holds."""
    world = World(redis_client, make_prometheus, long_term=True)
    world.rig.windows.plan(Feed("q", "hot", "select", "f"), world.end_ms - 10**6, world.end_ms)

    outcomes = world.extract(world.start())

    assert world.rig.extracted() == SAMPLES
    assert set(outcomes) == {Outcome.COMMITTED}


def test_without_a_store_the_query_begins_where_prometheus_does_and_says_so(
    redis_client: Redis, make_prometheus: MakePrometheus
) -> None:
    world = World(redis_client, make_prometheus, long_term=False)

    assert set(world.extract(world.start())) == {Outcome.COMMITTED}

    assert world.rig.extracted() == FRESH
    (told,) = _told(world, "query_begins_later")
    assert told["wanted_ms"] == world.end_ms - SAMPLES * STEP_MS
    assert told["origin_ms"] >= world.end_ms - (FRESH + 1) * STEP_MS
