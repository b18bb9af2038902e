"""The window set and the stages in memory: no order of events breaks the ledger or the coverage.

That the machine notices is shown by breaking copies of the twins, one guard at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

from tests import doubles
from tests.window_machine.broken import STREAMS, WINDOWS, Broken
from tests.window_machine.machine import WindowMachine, notices, walk
from tests.window_machine.world import MemoryWorld

# The hardest to notice takes some 40 walks.
MOST_WALKS = 400


class OnTheTwins(WindowMachine):
    make_world = MemoryWorld


TestOnTheTwins = OnTheTwins.TestCase
TestOnTheTwins.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)


@pytest.mark.parametrize("seed", range(20))
def test_long_walks(seed: int) -> None:
    walk(OnTheTwins, seed, steps=200)


def _copies(broken: Broken, *names: str) -> dict[str, Any]:
    """What is in copies of ``tests.doubles.NAME``, with the change; later ones import earlier."""
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            file = Path(doubles.__file__).with_name(f"{name}.py")
            source = file.read_text(encoding="utf-8")
            if f"def {broken.where}(" in source:
                source = broken.function(source)
            module = ModuleType(f"tests.doubles.{name}")
            exec(compile(source, str(file), "exec"), vars(module))
            patch.setitem(sys.modules, module.__name__, module)
            found |= vars(module)
    return found


def _is_noticed(make: Callable[[], MemoryWorld], seed: int) -> bool:
    class Machine(WindowMachine):
        make_world = staticmethod(make)

    return notices(Machine, seed, MOST_WALKS)


@pytest.mark.parametrize("broken", WINDOWS, ids=lambda broken: broken.what)
def test_a_broken_window_set_is_noticed(broken: Broken) -> None:
    made = _copies(broken, "memory_feeds", "memory_past", "memory_windows")

    assert _is_noticed(
        lambda: MemoryWorld(make_feeds=made["MemoryFeeds"], make_windows=made["MemoryWindowSet"]),
        broken.seed,
    )


@pytest.mark.parametrize("broken", STREAMS, ids=lambda broken: broken.what)
def test_a_broken_stream_is_noticed(broken: Broken) -> None:
    made = _copies(broken, "memory_seals", "memory_broker", "memory_stream")

    assert _is_noticed(
        lambda: MemoryWorld(make_broker=made["MemoryBroker"], make_stream=made["MemoryStream"]),
        broken.seed,
    )
