"""How long a window waits that cannot be read, and when it is split."""

from __future__ import annotations

import random
from collections.abc import Iterable
from types import SimpleNamespace
from typing import cast

import pytest
from fakeredis import FakeRedis
from prometheus_client import CollectorRegistry

from common.config import ExtractSettings, Query
from common.errors import QueryTooLarge, SourceUnavailable
from common.runtime.telemetry import Telemetry
from common.samples.columns import Samples
from common.state.keys import Keys
from common.state.windows import Feed, WindowSet
from services.extractor.extract import TIMED_OUT_ATTEMPTS, Extractor, Outcome
from services.extractor.history import SourceHistory
from services.extractor.prometheus import PrometheusClient
from services.extractor.staging import EntryBuilder
from services.extractor.windows import Plan

STEP_MS = 1000
SETTINGS = ExtractSettings(
    prometheus_url="http://127.0.0.1:9", backoff_base_seconds=0.5, backoff_max_seconds=4
)


def too_large(query: Query, start_ms: int, end_ms: int) -> Iterable[Samples]:
    raise QueryTooLarge("more than the server serves")


@pytest.mark.parametrize("seed", range(5))
def test_one_step_that_is_too_large_waits_the_base_at_least(seed: int) -> None:
    now_ms = 1_700_000_000_000
    windows = WindowSet(FakeRedis(), Keys("t"), now_ms=lambda: now_ms)
    plan = Plan(Feed("q", "hot", "select", "f"), Query(name="q", select="m"), STEP_MS, 0, 0, 9, 9)
    windows.plan(plan.feed, 0, STEP_MS)
    extractor = Extractor(
        windows,
        too_large,
        SourceHistory(cast(PrometheusClient, None)),
        EntryBuilder(100),
        SETTINGS,
        Telemetry("extractor", CollectorRegistry()),
        rng=random.Random(seed),
    )

    waits_ms = []
    window = windows.lease(plan.feed, "live", 10**9, 10**9)
    for _ in range(5):
        assert window is not None
        assert extractor.run(plan, window, 0) is Outcome.OPEN
        failed_at_ms = now_ms
        while (window := windows.lease(plan.feed, "catchup", 10**9, 10**9)) is None:
            now_ms += 50
        waits_ms.append(now_ms - failed_at_ms)

    assert all(500 <= wait_ms <= 4050 for wait_ms in waits_ms)
    assert waits_ms[0] <= 1050
    assert max(waits_ms) > 1050


@pytest.mark.parametrize("may_be_too_large", [True, False])
def test_what_times_out_behind_the_source_is_split_when_that_comes_again(
    *, may_be_too_large: bool
) -> None:
    """A store that is away answers no sooner for half of it, but one that is slow does."""
    now_ms = 1_700_000_000_000
    windows = WindowSet(FakeRedis(), Keys("t"), now_ms=lambda: now_ms)
    query, longest_ms = Query(name="q", select="m"), 8 * STEP_MS
    plan = Plan(Feed("q", "hot", "select", "f"), query, STEP_MS, 0, 0, 9, longest_ms)
    windows.plan(plan.feed, 0, longest_ms)

    def read(query: Query, start_ms: int, end_ms: int) -> Iterable[Samples]:
        if end_ms - start_ms > 2 * STEP_MS:
            raise SourceUnavailable("fetch series", may_be_too_large=may_be_too_large)
        return ()

    source = SimpleNamespace(
        now_ms=lambda: now_ms, run=lambda: None, lowest_timestamp_ms=lambda: None
    )
    extractor = Extractor(
        windows,
        read,
        SourceHistory(cast(PrometheusClient, source)),
        EntryBuilder(100),
        SETTINGS,
        Telemetry("extractor", CollectorRegistry()),
        rng=random.Random(1),
    )
    outcomes = []
    for _ in range(1000):
        window = windows.lease(plan.feed, "catchup", 0, longest_ms)
        if window is not None:
            outcomes.append(extractor.run(plan, window, 0))
        now_ms += 50
    assert outcomes[:TIMED_OUT_ATTEMPTS] == [Outcome.OPEN] * TIMED_OUT_ATTEMPTS
    assert (Outcome.SPLIT in outcomes) is may_be_too_large
    assert outcomes.count(Outcome.COMMITTED) == (4 if may_be_too_large else 0)
    assert (windows.status()["q@hot"].backlog == []) is may_be_too_large
