"""Extraction on real Redis: whatever the source answers, each window ends where it should."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from common.config import ExtractSettings, Query
from common.errors import (
    QueryRejected,
    QueryTooLarge,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from common.runtime.telemetry import Telemetry
from common.samples.batch import SampleBatch
from common.samples.columns import Samples
from common.state.keys import RAW, Keys
from common.state.ledger import Ledger
from common.state.stream import RedisStream
from common.state.windows import Feed, Window, WindowClass, WindowSet
from services.extractor.extract import Extractor, Outcome, SourceState
from services.extractor.planner import Planner
from services.extractor.staging import EntryBuilder
from services.extractor.windows import Plan

KEYS = Keys("x")
STEP_MS = 1000
LABELS = b'{"__name__":"m","i":"%d"}'
SETTINGS = ExtractSettings(prometheus_url="http://127.0.0.1:9", entry_samples=100)


class Source:
    """Answers every window with ``series`` series of one sample a step, or with what it is told."""

    def __init__(self, series: int = 1) -> None:
        self.series = series
        self.now = 100 * STEP_MS
        self.lowest: int | None = None
        self.asked: list[tuple[int, int]] = []
        self.failure: SourceError | None = None
        self.fail_above_ms = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self.histograms = 0

    def now_ms(self) -> int:
        return self.now

    def lowest_timestamp_ms(self) -> int | None:
        return self.lowest

    def read(self, query: Query, start_ms: int, end_ms: int) -> Iterable[Samples]:
        self.asked.append((start_ms, end_ms))
        return self._blocks(start_ms, end_ms)

    def _blocks(self, start_ms: int, end_ms: int) -> Iterator[Samples]:
        times = np.arange(start_ms + STEP_MS, end_ms + 1, STEP_MS, dtype=np.int64)
        for number in range(self.series):
            yield Samples(
                (LABELS % number,), np.array([len(times)]), times, times.astype(np.float64)
            )
            self.meanwhile()
        if self.histograms:
            yield Samples.empty(self.histograms)
        if self.failure is not None and end_ms - start_ms > self.fail_above_ms:
            raise self.failure


class Rig:
    def __init__(self, redis: Redis, source: Source, builder: EntryBuilder | None = None) -> None:
        query = Query(name="q", expr="m", step=STEP_MS / 1000)
        self.plan = Plan(
            Feed("q", "hot", "expr", "f"), query, STEP_MS, 0, 50_000, 1_000_000, 240_000
        )
        self.source = source
        self.redis = redis
        self.windows = WindowSet(redis, KEYS, lease_seconds=60)
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry("extractor", self.registry)
        self.states: list[SourceState] = []
        self.ticks, self.seconds = 0, 0.0
        self.extractor = Extractor(
            self.windows,
            source,
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

    def books(self) -> int:
        audit = Ledger(self.redis, KEYS).audit()
        assert audit.imbalance_samples == 0
        assert audit.staged_bytes == 0, "nothing is left behind"
        return audit.total.extracted


@pytest.fixture
def rig(redis_client: Redis) -> Rig:
    return Rig(redis_client, Source())


def test_a_window_becomes_entries_of_a_good_size(redis_client: Redis) -> None:
    rig = Rig(redis_client, Source(series=35))

    assert rig.run(rig.lease()) is Outcome.COMMITTED

    batches = rig.entries()
    assert [len(batch) for batch in batches] == [100, 100, 100, 50]
    assert {batch.origin.window_id for batch in batches} == {batches[0].origin.window_id}
    assert rig.books() == 350
    assert rig.status == ([], [])
    assert rig.value("etl_extracted_samples_total", query="q", tier="hot") == 350
    assert rig.states[-1].ok


def test_an_empty_answer_closes_the_window_and_is_no_gap(redis_client: Redis) -> None:
    rig = Rig(redis_client, Source(series=0))

    assert rig.run(rig.lease()) is Outcome.COMMITTED

    assert rig.status == ([], [])
    assert rig.windows.gaps("q@hot") == []


def test_a_window_that_is_too_large_is_split_until_it_fits(rig: Rig) -> None:
    rig.source.failure, rig.source.fail_above_ms = QueryTooLarge("too many samples"), 3 * STEP_MS
    window = rig.lease()
    outcomes = []
    while True:
        outcomes.append(rig.run(window))
        if rig.status[1] == [] and rig.status[0] == []:
            break
        window = rig.lease()

    assert outcomes.count(Outcome.SPLIT) == 3
    assert rig.books() == 10
    times = sorted(int(t) for batch in rig.entries() for t in batch.samples.timestamps_ms)
    assert times == [step * STEP_MS for step in range(1, 11)]


def test_a_long_window_is_work_and_no_standstill(redis_client: Redis) -> None:
    rig = Rig(redis_client, Source(series=35))

    assert rig.run(rig.lease()) is Outcome.COMMITTED

    assert rig.ticks >= 35


def test_a_window_that_outlasts_what_it_staged_is_split(rig: Rig) -> None:
    def staged_payloads_expire() -> None:
        rig.seconds += SETTINGS.staged_ttl_seconds + 1
        members: Any = rig.redis.zrange(KEYS.staged, 0, -1)
        for member in members:
            rig.redis.delete(member.rsplit(b" ", 1)[0])
            rig.redis.zrem(KEYS.staged, member)

    rig.source.series = 350
    rig.source.meanwhile = staged_payloads_expire

    assert rig.run(rig.lease()) is Outcome.SPLIT

    rig.source.meanwhile = lambda: None
    while rig.status != ([], []):
        assert rig.run(rig.lease()) is Outcome.COMMITTED
    assert rig.books() == 3_500


def test_one_step_that_is_too_large_stays_open_and_is_told(rig: Rig) -> None:
    rig.source.failure = QueryTooLarge("too many samples")

    assert rig.run(rig.lease(head_ms=STEP_MS)) is Outcome.OPEN

    assert rig.status == ([], [(0, STEP_MS)])
    labels = {"query": "q", "tier": "hot", "error_type": "QueryTooLarge"}
    assert rig.value("etl_query_failures_total", **labels) == 1


@pytest.mark.parametrize(
    ("failure", "source_is_away"),
    [
        (SourceUnavailable("503 from http://prometheus"), True),
        (SourceUnavailable("truncated JSON"), True),
        (SourceRefused("401 from http://prometheus"), True),
        (QueryRejected("400 parse error"), False),
    ],
)
def test_a_failed_window_goes_back_and_only_its_feed_waits(
    rig: Rig, failure: SourceError, source_is_away: bool
) -> None:
    rig.source.series = 300
    rig.source.failure = failure

    assert rig.run(rig.lease()) is Outcome.OPEN

    assert rig.status == ([(0, 10 * STEP_MS)], [])
    assert rig.windows.lease(rig.plan.feed, "live", 10**9, 10**9) is None
    assert rig.books() == 0
    assert rig.entries() == []
    assert [state.ok for state in rig.states] == ([False] if source_is_away else [])
    labels = {"query": "q", "tier": "hot", "error_type": type(failure).__name__}
    assert rig.value("etl_query_failures_total", **labels) == 1


def test_a_window_lost_meanwhile_commits_nothing(rig: Rig) -> None:
    window = rig.lease()

    def lose() -> None:
        rig.windows.retry(rig.plan.feed, window, 0)

    rig.source.meanwhile = lose

    assert rig.run(window) is Outcome.LOST

    assert rig.books() == 0
    assert rig.status == ([], [(0, 10 * STEP_MS)])
    assert rig.value("etl_window_commits_refused_total", query="q", tier="hot") == 1


def test_a_worker_that_wakes_up_after_its_window_was_extracted_changes_nothing(rig: Rig) -> None:
    late = rig.lease()
    rig.windows.retry(rig.plan.feed, late, 0)
    assert rig.run(rig.lease()) is Outcome.COMMITTED

    assert rig.run(late) is Outcome.LOST

    assert rig.books() == 10


def test_series_that_relabelling_joins_meet_in_one_entry(redis_client: Redis) -> None:
    def identities(kind: str, query: str, series: Iterable[bytes]) -> list[object]:
        return [b"even" if labels[-3] % 2 == 0 else b"odd" for labels in series]

    rig = Rig(redis_client, Source(series=30), EntryBuilder(100, identities))

    assert rig.run(rig.lease()) is Outcome.COMMITTED

    homes: dict[bytes, set[tuple[int, int]]] = {}
    for number, batch in enumerate(rig.entries()):
        times = np.split(batch.samples.timestamps_ms, np.cumsum(batch.samples.counts)[:-1])
        for labels, found in zip(batch.samples.series, times, strict=True):
            side = b"even" if labels[-3] % 2 == 0 else b"odd"
            for time_ms in found.tolist():
                homes.setdefault(side + b"%d" % time_ms, set()).add((number, 0))
    assert len(homes) == 20
    assert all(len(entries) == 1 for entries in homes.values())
    assert rig.books() == 300


def test_a_commit_whose_answer_is_lost_keeps_its_payloads(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = WindowSet.commit

    def cut(*args: Any, **kwargs: Any) -> str:
        commit(*args, **kwargs)
        raise RedisConnectionError("Connection reset by peer")

    monkeypatch.setattr(WindowSet, "commit", cut)

    with pytest.raises(RedisConnectionError):
        rig.run(rig.lease())

    assert rig.books() == 10
    assert [len(batch) for batch in rig.entries()] == [10]


def test_histogram_samples_are_counted_not_hidden(rig: Rig) -> None:
    rig.source.histograms = 7

    assert rig.run(rig.lease()) is Outcome.COMMITTED

    assert rig.value("etl_histogram_samples_skipped_total", query="q") == 7


def test_what_the_source_has_deleted_is_declared_with_its_bounds(rig: Rig) -> None:
    rig.source.series = 0
    rig.source.lowest = 5 * STEP_MS - 300_000  # the rule's lookback ends within the window

    assert rig.run(rig.lease(window_class="catchup"), origin_ms=-(10**9)) is Outcome.GAP

    (gap,) = rig.windows.gaps("q@hot")
    assert (gap.start_ms, gap.end_ms) == (0, 4 * STEP_MS)
    rig.source.series = 1
    assert rig.run(rig.lease(window_class="catchup"), origin_ms=-(10**9)) is Outcome.COMMITTED
    assert rig.source.asked[-1] == (4 * STEP_MS, 10 * STEP_MS)
    assert rig.value("etl_gap_seconds_total", query="q", tier="hot") == 4


def test_redis_out_of_memory_leaves_the_window_open(rig: Rig) -> None:
    window = rig.lease()
    rig.redis.config_set("maxmemory", 1)
    try:
        assert rig.run(window) is Outcome.OPEN
    finally:
        rig.redis.config_set("maxmemory", 0)

    assert rig.books() == 0
    backlog, still_open = rig.status
    assert backlog == []
    assert still_open == [(0, 10 * STEP_MS)]


# -- planning ---------------------------------------------------------------------------------


def planner(rig: Rig, *plans: Plan) -> Planner:
    return Planner(
        plans or (rig.plan,),
        rig.windows,
        rig.source,
        rig.telemetry,
        close_after_seconds=0.0,
    )


def test_planning_follows_the_sources_clock(rig: Rig) -> None:
    planning = planner(rig)
    due = planning.plan()
    assert (due.live, due.catchup) == (1, 0)
    assert rig.status == ([(50 * STEP_MS, 100 * STEP_MS)], [])

    rig.source.now += 7 * STEP_MS + 500
    planning.plan()

    assert rig.status == ([(50 * STEP_MS, 107 * STEP_MS)], [])
    assert rig.windows.status()["q@hot"].watermark_ms == 50 * STEP_MS


def test_a_source_without_a_settled_sample_is_not_planned(rig: Rig) -> None:
    rig.source.lowest = 200 * STEP_MS

    planner(rig).plan()

    assert rig.windows.status() == {}


def test_the_last_to_start_owns_the_feed(rig: Rig) -> None:
    old = planner(rig)
    old.plan()
    changed = Plan(
        Feed("q", "hot", "expr", "f2"), rig.plan.query, STEP_MS, 0, 50_000, 1_000_000, 240_000
    )
    planner(rig, changed).plan()

    rig.source.now += 10 * STEP_MS
    old.plan()

    status = rig.windows.status()["q@hot"]
    assert (status.fingerprint, status.head_ms) == ("f2", 100 * STEP_MS)
    assert rig.windows.lease(rig.plan.feed, "live", 10**9, 10**9) is None


def test_a_removed_query_is_closed_and_what_it_owed_is_declared(rig: Rig) -> None:
    planner(rig).plan()
    other = Plan(
        Feed("other", "hot", "expr", "f"), rig.plan.query, STEP_MS, 0, 50_000, 1_000_000, 240_000
    )

    planner(rig, other).plan()

    assert list(rig.windows.status()) == ["other@hot"]
    (gap,) = rig.windows.gaps("q@hot")
    assert (gap.start_ms, gap.end_ms, gap.reason) == (
        50 * STEP_MS,
        100 * STEP_MS,
        "query removed",
    )
    assert rig.value("etl_queries_closed_total", query="q", tier="hot") == 1
