"""The verifier shows that it lives, however many of its sources and their replicas hang."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from common.config import Settings
from common.errors import SourceUnavailable
from common.runtime.stage import Lifecycle
from common.runtime.telemetry import Telemetry
from common.source.transport import Transport
from services.verifier.proving import prove
from services.verifier.proving.budget import CpuBudget
from tests.support.settings_files import PLAIN

TIMEOUT_SECONDS = 30.0
SOURCES = [{"name": name, "url": f"http://{name}:1", "labels": {"site": name}} for name in "abcdef"]
REPLICAS = [f"http://{name}:1" for name in "abcdef"]


@dataclass
class Turn:
    """One turn of a verifier, at a clock that stands still but for what hangs."""

    now: float = 0.0
    ticks: list[float] = field(default_factory=lambda: [0.0])
    renewals: list[float] = field(default_factory=list)
    is_ours: bool = True

    def hangs(self, *_: Any, **__: Any) -> Any:
        self.now += TIMEOUT_SECONDS
        raise SourceUnavailable("timed out")

    def run(self, **extract: Any) -> None:
        def save(proofs: Any, **_: Any) -> bool:
            self.renewals.append(self.now)
            return self.is_ours

        record: Any = SimpleNamespace(
            windows=None, lease=("", ""), read=dict, save=save, sink_starts=list
        )
        guard: Any = SimpleNamespace(reason=lambda: None)
        life = Lifecycle(threading.Event(), lambda: self.ticks.append(self.now), lambda *_: None)
        prove.Prover(
            Settings.model_validate({**PLAIN, "extract": extract}),
            life,
            Telemetry("verifier"),
            record,
            guard,
            budget=CpuBudget(1.0, cpu=lambda: 0.0),
            clock=lambda: self.now,
        ).turn()

    def longest_without(self, seen: list[float]) -> float:
        return max(after - before for before, after in pairwise([*seen, self.now]))


def test_each_source_that_hangs_has_a_tick_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = Turn()
    monkeypatch.setattr(prove, "connected", turn.hangs)

    turn.run(sources=SOURCES)

    assert turn.now == len(SOURCES) * TIMEOUT_SECONDS
    assert turn.longest_without(turn.ticks) <= TIMEOUT_SECONDS


def test_each_replica_that_hangs_has_a_tick_and_the_lease_is_kept_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turn = Turn()
    monkeypatch.setattr(Transport, "stream", turn.hangs)

    turn.run(replicas=REPLICAS)

    assert turn.now == len(REPLICAS) * TIMEOUT_SECONDS
    assert turn.longest_without(turn.ticks) <= TIMEOUT_SECONDS
    assert turn.longest_without(turn.renewals) <= TIMEOUT_SECONDS


def test_each_url_of_the_sink_that_hangs_has_a_tick_and_the_lease_is_kept_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turn = Turn()

    def starts() -> Iterator[str]:
        for _ in REPLICAS:
            turn.now += TIMEOUT_SECONDS
            yield ""

    parts = SimpleNamespace(sink=SimpleNamespace(starts=starts))
    monkeypatch.setattr(prove, "connected", lambda *_: nullcontext(parts))
    monkeypatch.setattr(prove, "verifier", turn.hangs)

    turn.run(**PLAIN["extract"])

    assert turn.now == (len(REPLICAS) + 1) * TIMEOUT_SECONDS
    assert turn.longest_without(turn.ticks) <= TIMEOUT_SECONDS
    assert turn.longest_without(turn.renewals) <= TIMEOUT_SECONDS


def test_one_that_is_idle_asks_each_replica_too(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = Turn(is_ours=False)
    monkeypatch.setattr(Transport, "stream", turn.hangs)

    turn.run(replicas=REPLICAS)

    assert turn.now == len(REPLICAS) * TIMEOUT_SECONDS
    assert turn.longest_without(turn.ticks) <= TIMEOUT_SECONDS
