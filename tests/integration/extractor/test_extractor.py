"""Extraction on real Redis: whatever the source returns, each window ends where it should."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from common.errors import (
    QueryRejected,
    QueryTooLarge,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from common.state.ledger import Ledger
from common.state.windows import WindowSet
from services.extractor.extract import Outcome
from services.extractor.staging import EntryBuilder
from tests.integration.extractor.extraction_world import KEYS, SETTINGS, STEP_MS, Rig, Source
from tests.support.captured_log import CapturedLog


@pytest.fixture
def rig(redis_client: Redis) -> Rig:
    return Rig(redis_client, Source())


def test_a_window_becomes_entries_of_a_good_size(redis_client: Redis) -> None:
    rig = Rig(redis_client, Source(series=35))

    assert rig.run(rig.lease()) is Outcome.COMMITTED

    batches = rig.entries()
    assert [len(batch) for batch in batches] == [100, 100, 100, 50]
    assert {batch.origin.window_id for batch in batches} == {batches[0].origin.window_id}
    assert rig.extracted() == 350
    assert rig.status == ([], [])
    assert rig.value("etl_extracted_samples_total", query="q", tier="hot") == 350
    assert rig.states[-1].ok


def test_an_empty_result_closes_the_window_and_is_no_gap(redis_client: Redis) -> None:
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
    assert rig.extracted() == 10
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
    assert rig.extracted() == 3_500


def test_one_step_that_is_too_large_is_deferred_and_reported(rig: Rig) -> None:
    rig.source.failure = QueryTooLarge("too many samples")

    assert rig.run(rig.lease(head_ms=STEP_MS)) is Outcome.OPEN

    assert rig.status == ([(0, STEP_MS)], [])
    assert rig.windows.status()["q@hot"].deferred == [(0, STEP_MS)]
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

    rejected = isinstance(failure, QueryRejected)
    assert rig.run(rig.lease()) is (Outcome.SPLIT if rejected else Outcome.OPEN)

    halves = [(0, 5 * STEP_MS), (5 * STEP_MS, 10 * STEP_MS)]
    assert rig.status == (([], halves) if rejected else ([(0, 10 * STEP_MS)], []))
    assert rig.windows.lease(rig.plan.feed, "live", 10**9, 10**9) is None
    assert rig.extracted() == 0
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

    assert rig.extracted() == 0
    assert rig.status == ([], [(0, 10 * STEP_MS)])
    assert rig.value("etl_window_commits_refused_total", query="q", tier="hot") == 1


@pytest.mark.parametrize(
    "failure",
    [
        SourceUnavailable("timed out"),
        QueryTooLarge("too many samples"),
        QueryRejected("400 parse error"),
    ],
)
@pytest.mark.parametrize("steps", [1, 10])
def test_a_window_lost_meanwhile_is_told_whatever_was_to_become_of_it(
    rig: Rig, failure: SourceError, steps: int
) -> None:
    late = rig.lease(head_ms=steps * STEP_MS)
    rig.windows.retry(rig.plan.feed, late, 0)
    assert rig.run(rig.lease(head_ms=steps * STEP_MS)) is Outcome.COMMITTED

    rig.source.failure = failure

    assert rig.run(late) is Outcome.LOST
    assert rig.value("etl_window_commits_refused_total", query="q", tier="hot") == 1
    assert rig.status == ([], [])


def test_a_worker_that_wakes_up_after_its_window_was_extracted_changes_nothing(rig: Rig) -> None:
    late = rig.lease()
    rig.windows.retry(rig.plan.feed, late, 0)
    assert rig.run(rig.lease()) is Outcome.COMMITTED

    assert rig.run(late) is Outcome.LOST

    assert rig.extracted() == 10


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
    assert rig.extracted() == 300


def test_a_commit_whose_response_is_lost_keeps_its_payloads(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = WindowSet.commit

    def cut(*args: Any, **kwargs: Any) -> str:
        commit(*args, **kwargs)
        raise RedisConnectionError("Connection reset by peer")

    monkeypatch.setattr(WindowSet, "commit", cut)

    with pytest.raises(RedisConnectionError):
        rig.run(rig.lease())

    assert rig.extracted() == 10
    assert [len(batch) for batch in rig.entries()] == [10]


def test_the_only_entry_of_a_window_is_not_staged(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(WindowSet, "stage")

    assert rig.run(rig.lease()) is Outcome.COMMITTED

    assert [len(batch) for batch in rig.entries()] == [10]


@pytest.mark.parametrize("floats", [1, 0])
def test_native_histograms_are_extracted_and_dropped(redis_client: Redis, floats: int) -> None:
    log = CapturedLog()
    rig = Rig(redis_client, Source(series=floats), logger=log)
    rig.source.histograms = 7

    for head in (10, 20):
        assert rig.run(rig.lease(head_ms=head * STEP_MS)) is Outcome.COMMITTED

    assert rig.extracted() == 20 * (7 + floats)
    account = Ledger(redis_client, KEYS).audit().accounts["q@hot"]
    assert account.dropped == {"native_histogram": 140}
    assert account.in_flight == 20 * floats
    assert rig.value("etl_dropped_samples_total", reason="native_histogram") == 140
    extracted = rig.value("etl_extracted_samples_total", query="q", tier="hot")
    assert extracted == 20 * (7 + floats)
    assert log.events.count("histograms_dropped") == 1, "once, not for each window or series"
    (said,) = (line for line in log.lines if line["event"] == "histograms_dropped")
    assert (said["query"], said["samples"]) == ("q", 70)


def test_histograms_of_a_window_that_is_not_committed_are_not_counted(rig: Rig) -> None:
    rig.source.histograms, rig.source.failure = 7, SourceUnavailable("closed the connection")

    assert rig.run(rig.lease()) is Outcome.OPEN

    assert rig.extracted() == 0
    assert rig.value("etl_dropped_samples_total", reason="native_histogram") == 0


def test_a_query_that_matches_nothing_is_told_from_one_that_does(rig: Rig) -> None:
    def run(head: int, series: int = 0, histograms: int = 0) -> int:
        rig.source.series, rig.source.histograms = series, histograms
        assert rig.run(rig.lease(head_ms=head * STEP_MS)) is Outcome.COMMITTED
        return rig.windows.status()["q@hot"].empty_ms

    assert run(10) == 10 * STEP_MS
    assert run(20, series=1) == 0
    assert run(30) == 10 * STEP_MS
    assert run(40, histograms=1) == 0
    rig.plan = replace(rig.plan, query=rig.plan.query.model_copy(update={"may_be_empty": True}))
    assert run(50) == 0


def test_what_the_source_has_deleted_is_declared_with_its_bounds(rig: Rig) -> None:
    rig.source.series = 0
    rig.source.lowest = 5 * STEP_MS - 300_000  # the rule's lookback ends within the window

    assert rig.run(rig.lease(window_class="catchup"), origin_ms=-(10**9)) is Outcome.GAP

    (gap,) = rig.windows.gaps("q@hot")
    assert (gap.start_ms, gap.end_ms) == (0, 4 * STEP_MS)
    rig.source.series = 1
    assert rig.run(rig.lease(window_class="catchup"), origin_ms=-(10**9)) is Outcome.COMMITTED
    assert rig.source.reads[-1] == (4 * STEP_MS, 10 * STEP_MS)
    assert rig.value("etl_gap_seconds_total", query="q", tier="hot") == 4


def test_redis_out_of_memory_leaves_the_window_open(rig: Rig) -> None:
    window = rig.lease()
    rig.redis.config_set("maxmemory", 1)
    try:
        assert rig.run(window) is Outcome.OPEN
    finally:
        rig.redis.config_set("maxmemory", 0)

    assert rig.extracted() == 0
    backlog, still_open = rig.status
    assert backlog == []
    assert still_open == [(0, 10 * STEP_MS)]
