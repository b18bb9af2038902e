"""A balancer before two real Prometheus, of which one holds only the latest samples."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import cast

import pytest
import requests
from redis import Redis

from common.config import ExtractSettings, Query
from common.state.windows import Feed
from devtools.servers.prometheus_server import PrometheusServer
from services.extractor.extract import Outcome
from services.extractor.history import SourceHistory
from services.extractor.planner import Planner
from services.extractor.prometheus import PrometheusClient
from services.extractor.windows import Plan
from tests.integration.extractor.extraction_world import STEP_MS, Rig, Source
from tests.support.answering_server import AnsweringServer, Handler, reply
from tests.support.remote_write import push, sample, series

FLAGS = ("--web.enable-remote-write-receiver",)
SAMPLES = 60
FRESH = 10
MakePrometheus = Callable[..., PrometheusServer]


def balancer(*backends: PrometheusServer, turns: int = 1) -> AnsweringServer:
    """Each backend answers ``turns`` requests, then the next one does."""
    turn = itertools.count()

    def answer(handler: Handler) -> None:
        backend = backends[next(turn) // turns % len(backends)]
        seen = handler.request_seen
        found = requests.get(f"{backend.url}{seen.path}", params=seen.params, timeout=10)
        reply(found.content, found.status_code)(handler)

    return AnsweringServer(answer)


class World:
    """A ``select`` with a sample a second for a minute; the second server has the last ten."""

    def __init__(self, redis: Redis, make_prometheus: MakePrometheus) -> None:
        self.old, self.fresh = make_prometheus(flags=FLAGS), make_prometheus(flags=FLAGS)
        self.end_ms = int(time.time()) // 10 * 10_000
        times = [self.end_ms - n * STEP_MS for n in range(SAMPLES)][::-1]
        labels = {"__name__": "pushed"}
        push(self.old, series(labels, [sample(ms, float(n)) for n, ms in enumerate(times)]))
        push(self.fresh, series(labels, [sample(ms, 1.0) for ms in times[-FRESH:]]))
        self.rig = Rig(redis, Source())
        self.servers: list[int] = []

    def run(self, url: str, plans: int = 8) -> list[Outcome]:
        """Plan and extract all of the minute through ``url``."""
        rig = self.rig
        client = PrometheusClient(ExtractSettings(prometheus_url=url))
        rig.history = rig.extractor.history = SourceHistory(
            client, on_servers=self.servers.append, reconnect=client.close
        )
        rig.extractor.read = client.read
        query = Query(name="q", select="pushed").bound(1, {})
        feed = Feed("q", "hot", "select", "f")
        rig.plan = Plan(feed, query, STEP_MS, 0, SAMPLES * STEP_MS, 10**9, 10 * STEP_MS)
        start_ms = self.end_ms - SAMPLES * STEP_MS
        rig.windows.plan(feed, start_ms, self.end_ms)
        planner = Planner([rig.plan], rig.windows, rig.history, rig.telemetry, 600.0)
        for _ in range(plans):
            planner.history.check()
        outcomes = []
        for _ in range(200):
            window = rig.windows.lease(feed, "catchup", 0, 10 * STEP_MS)
            if window is None and rig.status == ([], []):
                break
            if window is None:
                # What waits to be read again need not wait in a test.
                rig.redis.hset(rig.windows.keys.feed(feed.name), "not_before_ms", 0)
                self._end_waits(feed)
                continue
            outcomes.append(rig.extractor.run(rig.plan, window, start_ms))
        client.close()
        return outcomes

    def _end_waits(self, feed: Feed) -> None:
        key = self.rig.windows.keys.windows(feed.name)
        for id_, text in cast(dict[bytes, bytes], self.rig.redis.hgetall(key)).items():
            head, _, tail = text.partition(b'"nb":')
            self.rig.redis.hset(key, id_.decode(), head + b'"nb":0' + tail[len(_digits(tail)) :])


def _digits(text: bytes) -> bytes:
    return bytes(itertools.takewhile(lambda byte: chr(byte) in "0123456789.e+", text))


@pytest.fixture
def world(redis_client: Redis, make_prometheus: MakePrometheus) -> World:
    return World(redis_client, make_prometheus)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_no_gap_is_declared_for_what_one_of_them_holds(world: World, turns: int) -> None:
    with balancer(world.old, world.fresh, turns=turns) as front:
        outcomes = world.run(front.url)
    assert world.rig.windows.gaps("q@hot") == []
    assert Outcome.GAP not in outcomes
    assert world.rig.extracted() == SAMPLES
    assert world.servers[-1] == 2


def test_what_neither_holds_is_a_gap_at_last(world: World) -> None:
    """And one server is one, whatever it lacks."""
    outcomes = world.run(world.fresh.url)
    assert world.rig.extracted() == FRESH
    assert outcomes.count(Outcome.GAP) == (SAMPLES - FRESH) // 10
    assert world.servers == [1]
