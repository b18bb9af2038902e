"""What an extractor makes of a source whose history has expired, by the real scripts."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import cast

import numpy as np
import pytest
from fakeredis import FakeRedis
from prometheus_client import CollectorRegistry

from common.config import ExtractSettings, Query
from common.runtime.telemetry import Telemetry
from common.samples.columns import Samples
from common.state.keys import Keys
from common.state.ledger import Ledger
from common.state.windows import Feed, WindowClass, WindowSet
from services.extractor.extract import Extractor, Outcome, SourceState
from services.extractor.history import NO_SAMPLES_MS, ServerRun, SourceHistory
from services.extractor.prometheus import PrometheusClient
from services.extractor.staging import EntryBuilder
from services.extractor.windows import Plan

STEP_MS = 1000
SETTINGS = ExtractSettings(prometheus_url="http://127.0.0.1:9")


class Source:
    def __init__(self, samples: int, lowest_ms: int) -> None:
        self.samples, self.lowest_ms = samples, lowest_ms
        self.first_ms: int | None = None

    def read(self, query: Query, start_ms: int, end_ms: int) -> Iterable[Samples]:
        first_ms = start_ms + 1 if self.first_ms is None else self.first_ms
        times = np.arange(first_ms, first_ms + self.samples, dtype=np.int64)
        if self.samples:
            yield Samples(
                (b'{"__name__":"m"}',), np.array([len(times)]), times, np.zeros(len(times))
            )

    def now_ms(self) -> int:
        return 11 * STEP_MS

    def run(self) -> ServerRun | None:
        return None

    def lowest_timestamp_ms(self) -> int | None:
        return self.lowest_ms


@pytest.mark.parametrize(
    ("window_class", "samples", "lowest_ms", "outcome"),
    [
        # A Prometheus that was restarted after the read reports so until it has read its own log.
        ("catchup", 3, NO_SAMPLES_MS, Outcome.OPEN),
        ("catchup", 0, NO_SAMPLES_MS, Outcome.GAP),
        ("live", 0, NO_SAMPLES_MS, Outcome.GAP),
        ("live", 3, NO_SAMPLES_MS, Outcome.OPEN),
        # It lost its volume and scrapes again: the few samples it has are not the whole window.
        ("live", 3, 5 * STEP_MS, Outcome.GAP),
        ("live", 0, 5 * STEP_MS, Outcome.GAP),
        ("live", 3, 0, Outcome.COMMITTED),
        ("catchup", 0, 20 * STEP_MS, Outcome.GAP),
        ("catchup", 3, 0, Outcome.COMMITTED),
    ],
)
def test_what_was_just_read_is_not_declared_a_gap(
    window_class: WindowClass, samples: int, lowest_ms: int, outcome: Outcome
) -> None:
    redis, keys = FakeRedis(), Keys("t")
    windows, ledger = WindowSet(redis, keys), Ledger(redis, keys)
    query = Query(name="q", select="m")
    plan = Plan(Feed("q", "hot", "select", "f"), query, STEP_MS, 0, 0, 10_000, 10_000)
    windows.plan(plan.feed, 0, 10 * STEP_MS)
    horizon_ms = 10**9 if window_class == "live" else 0
    window = windows.lease(plan.feed, window_class, horizon_ms, 10**9)
    assert window is not None
    states: list[SourceState] = []
    source = Source(samples, lowest_ms)
    source.first_ms = lowest_ms if 0 < lowest_ms < 10 * STEP_MS else None
    extractor = Extractor(
        windows,
        source.read,
        SourceHistory(cast(PrometheusClient, source)),
        EntryBuilder(100),
        SETTINGS,
        Telemetry("extractor", CollectorRegistry()),
        on_source=states.append,
        rng=random.Random(1),
    )

    assert extractor.run(plan, window, 0) is outcome

    extracted = samples if outcome is Outcome.COMMITTED else 0
    assert ledger.audit().total.extracted == extracted
    assert bool(windows.gaps("q@hot")) == (outcome is Outcome.GAP)
    assert ledger.audit().staged_bytes == 0
    if outcome is Outcome.OPEN:
        assert windows.status()["q@hot"].backlog == [(0, 10 * STEP_MS)]
        assert [state.ok for state in states] == [False]
