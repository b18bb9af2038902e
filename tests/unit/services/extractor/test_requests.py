"""What a window costs in requests, and what is noticed all the same; windows are in memory."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from fakeredis import FakeRedis
from prometheus_client import CollectorRegistry

from common.config import ExtractSettings, Query
from common.errors import SourceUnavailable
from common.runtime.telemetry import Telemetry
from common.state.keys import Keys
from common.state.ledger import Ledger
from common.state.windows import Feed, WindowSet
from services.extractor.extract import Extractor, Outcome
from services.extractor.history import AGREEING_READINGS, REPORT_AGAIN_SECONDS, SourceHistory
from services.extractor.planner import Planner
from services.extractor.prometheus import PrometheusClient
from services.extractor.staging import EntryBuilder
from services.extractor.windows import Plan
from tests.support.answering_server import AnsweringServer, Handler, reply

NOW_MS = 1_700_000_000_000
STEP_MS = 10_000
DAY_MS = 86_400_000
WINDOWS = 20

SCALAR = b'{"status":"success","data":{"resultType":"scalar","result":[1,"%d"]}}'
MATRIX = (
    b'{"status":"success","data":{"resultType":"matrix","result":['
    b'{"metric":{"__name__":"m"},"values":[[%d,"1"]]}]}}'
)
EMPTY = b'{"status":"success","data":{"resultType":"matrix","result":[]}}'
RUN = (
    b'{"status":"success","data":{"startTime":"%s","lastConfigTime":"c","storageRetention":"15d"}}'
)


class Prometheus:
    """A server of which every series has one sample in every window."""

    def __init__(self) -> None:
        self.lowest_ms = NOW_MS - 10 * DAY_MS
        self.started = b"2023-11-01T00:00:00.123456789Z"
        self.refusal: int | None = None
        self.requests: Counter[str] = Counter()
        self.during_read: Callable[[], None] = lambda: None

    def __call__(self, handler: Handler) -> None:
        seen = handler.request_seen
        self.requests[seen.path] += 1
        if seen.path == "/metrics":
            text = b"prometheus_tsdb_lowest_timestamp_seconds %d\n" % (self.lowest_ms // 1000)
            reply(text if self.refusal is None else b"<html>", self.refusal or 200)(handler)
        elif seen.path == "/api/v1/status/runtimeinfo":
            reply(RUN % self.started)(handler)
        elif seen.params["query"] == "time()":
            reply(SCALAR % (NOW_MS // 1000))(handler)
        elif seen.params["query"] == "vector(1)":
            reply(MATRIX % 1)(handler)
        else:
            self.during_read()
            time_seconds = float(seen.params["time"])
            held = time_seconds * 1000 >= self.lowest_ms
            reply(MATRIX % time_seconds if held else EMPTY)(handler)


class Rig:
    def __init__(self, prometheus: Prometheus, url: str) -> None:
        self.prometheus = prometheus
        self.events = 0
        settings = ExtractSettings(prometheus_url=url)
        source = PrometheusClient(settings)
        self.history = SourceHistory(source, self._on_silent)
        redis, keys = FakeRedis(), Keys("t")
        self.ledger = Ledger(redis, keys)
        self.windows = WindowSet(redis, keys)
        telemetry = Telemetry("extractor", CollectorRegistry())
        query = Query(name="q", select="m")
        span_ms = WINDOWS * STEP_MS
        self.plan = Plan(
            Feed("q", "hot", "select", "f"), query, STEP_MS, 0, span_ms, span_ms, STEP_MS
        )
        self.planner = Planner(
            [self.plan], self.windows, self.history, telemetry, close_after_seconds=60
        )
        self.extractor = Extractor(
            self.windows,
            source.read,
            self.history,
            EntryBuilder(100),
            settings,
            telemetry,
            rng=random.Random(1),
        )

    def _on_silent(self) -> None:
        self.events += 1

    def extract(self) -> list[Outcome]:
        """Every window there is, one step each."""
        outcomes = []
        while window := self.windows.lease(self.plan.feed, "live", 10**9, STEP_MS):
            outcomes.append(self.extractor.run(self.plan, window, 0))
        return outcomes


@pytest.fixture
def rig() -> Iterator[Rig]:
    prometheus = Prometheus()
    with AnsweringServer(prometheus) as server:
        yield Rig(prometheus, server.url)


def test_the_metrics_are_read_once_for_all_windows_of_a_turn(rig: Rig) -> None:
    rig.planner.plan()

    assert rig.extract() == [Outcome.COMMITTED] * WINDOWS

    assert rig.prometheus.requests == {
        "/metrics": 1,
        "/api/v1/status/runtimeinfo": 1 + WINDOWS,
        "/api/v1/query": 1 + WINDOWS,
    }
    assert rig.ledger.audit().total.extracted == WINDOWS


def test_what_expires_between_plan_and_read_is_a_gap(rig: Rig) -> None:
    """Near the retention's end the metrics are read again after each window."""
    rig.prometheus.lowest_ms = NOW_MS - 20 * DAY_MS
    start_ms = NOW_MS - 15 * DAY_MS
    rig.windows.plan(rig.plan.feed, start_ms, start_ms + 2 * STEP_MS)
    rig.history.check()

    def delete() -> None:
        rig.prometheus.lowest_ms = start_ms + STEP_MS + 1000

    rig.prometheus.during_read = delete

    assert rig.extract() == [Outcome.COMMITTED, Outcome.GAP]

    (gap,) = rig.windows.gaps("q@hot")
    assert (gap.start_ms, gap.end_ms) == (start_ms, start_ms + STEP_MS)
    assert rig.prometheus.requests["/metrics"] == 3 + AGREEING_READINGS


def test_a_restart_without_its_data_between_plan_and_read_is_noticed(rig: Rig) -> None:
    rig.planner.plan()

    def lose_everything() -> None:
        rig.prometheus.started = b"second"
        rig.prometheus.lowest_ms = NOW_MS - STEP_MS + 1000

    rig.prometheus.during_read = lose_everything
    outcomes = rig.extract()

    assert outcomes.count(Outcome.GAP) == WINDOWS - 1
    assert rig.ledger.audit().total.extracted == 1
    # No gap is declared by what was known before the window was read, or by one reading alone.
    assert rig.prometheus.requests["/metrics"] == 1 + WINDOWS + AGREEING_READINGS


@pytest.mark.parametrize("refusal", [400, 401, 404, 501, 200])
def test_a_server_whose_metrics_are_refused_stops_nothing(rig: Rig, refusal: int) -> None:
    rig.prometheus.refusal = refusal
    for _ in range(3):
        rig.planner.plan()

    assert rig.extract() == [Outcome.COMMITTED] * WINDOWS

    assert rig.events == 1
    assert rig.prometheus.requests["/metrics"] == 3


@pytest.mark.parametrize("failure", [500, 502, 503])
def test_what_may_have_been_deleted_waits_for_metrics_that_fail(rig: Rig, failure: int) -> None:
    """However long they do; what the server must still have is extracted meanwhile."""
    start_ms = NOW_MS - 15 * DAY_MS
    rig.windows.plan(rig.plan.feed, start_ms, start_ms + STEP_MS)
    rig.prometheus.lowest_ms = start_ms + STEP_MS
    rig.prometheus.refusal = failure
    with pytest.raises(SourceUnavailable, match=str(failure)):
        rig.history.check()
    rig.history.clock = lambda: time.monotonic() + REPORT_AGAIN_SECONDS
    rig.history.check()

    assert rig.extract() == [Outcome.OPEN]
    assert rig.windows.status()["q@hot"].deferred == [(start_ms, start_ms + STEP_MS)]
    assert rig.ledger.audit().total.extracted == 0

    assert rig.history.lowest_ms(NOW_MS - DAY_MS) is None, "it must still have that"
