"""The verifier shows that it lives, however many of its sources hang."""

from __future__ import annotations

import threading
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from common.config import Settings
from common.errors import SourceUnavailable
from common.runtime.stage import Lifecycle
from common.runtime.telemetry import Telemetry
from services.verifier.proving import prove
from services.verifier.proving.budget import CpuBudget
from tests.support.settings_files import PLAIN

TIMEOUT_SECONDS = 30.0
SOURCES = [{"name": name, "url": f"http://{name}:1", "labels": {"site": name}} for name in "abcdef"]


def test_each_source_that_hangs_has_a_tick_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    now, ticks = [0.0], [0.0]

    def hangs(*_: Any, **__: Any) -> Any:
        now[0] += TIMEOUT_SECONDS
        raise SourceUnavailable("timed out")

    monkeypatch.setattr(prove, "connected", hangs)
    record: Any = SimpleNamespace(
        windows=None, lease=("", ""), read=dict, save=lambda proofs, **_: True, release=lambda: None
    )
    guard: Any = SimpleNamespace(reason=lambda: None)
    life = Lifecycle(threading.Event(), lambda: ticks.append(now[0]), lambda *_: None)
    prover = prove.Prover(
        Settings.model_validate({**PLAIN, "extract": {"sources": SOURCES}}),
        life,
        Telemetry("verifier"),
        record,
        guard,
        budget=CpuBudget(1.0),
        clock=lambda: now[0],
    )

    prover.turn()

    assert now[0] == len(SOURCES) * TIMEOUT_SECONDS
    assert max(after - before for before, after in pairwise([*ticks, now[0]])) <= TIMEOUT_SECONDS
