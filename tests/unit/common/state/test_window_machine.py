"""The window set and the stages in memory: no order of events breaks the books or the coverage.

That the machine notices is shown by breaking copies of the twins, one guard at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

from tests import doubles
from tests.window_machine.broken import STREAMS, WINDOWS, Broken
from tests.window_machine.machine import WindowMachine, walk
from tests.window_machine.world import MemoryWorld

# The hardest to notice takes some 40 walks.
MOST_WALKS = 400


class OnTheTwins(WindowMachine):
    make_world = MemoryWorld


TestOnTheTwins = OnTheTwins.TestCase
TestOnTheTwins.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)


@pytest.mark.parametrize("seed", range(4))
def test_long_walks(seed: int) -> None:
    for walked in range(10):
        walk(OnTheTwins, 10 * seed + walked, steps=200)


def _copy(name: str, broken: Broken) -> ModuleType:
    """A copy of ``tests.doubles.NAME`` with the change."""
    file = Path(doubles.__file__).with_name(f"{name}.py")
    source = broken.function(file.read_text(encoding="utf-8"))
    module = ModuleType(f"tests.doubles.{name}")
    exec(compile(source, str(file), "exec"), vars(module))
    return module


def _is_noticed(make_world: Callable[[], MemoryWorld]) -> bool:
    class Machine(WindowMachine):
        pass

    Machine.make_world = make_world
    for seed in range(MOST_WALKS):
        try:
            walk(Machine, seed, steps=60)
        except AssertionError:
            return True
    return False


@pytest.mark.parametrize("broken", WINDOWS, ids=lambda broken: broken.what)
def test_a_broken_window_set_is_noticed(broken: Broken) -> None:
    made = _copy("memory_windows", broken)

    assert _is_noticed(
        lambda: MemoryWorld(make_feeds=made.MemoryFeeds, make_windows=made.MemoryWindowSet)
    )


@pytest.mark.parametrize("broken", STREAMS, ids=lambda broken: broken.what)
def test_a_broken_stream_is_noticed(broken: Broken) -> None:
    made = _copy("memory_stream", broken)

    assert _is_noticed(
        lambda: MemoryWorld(make_broker=made.MemoryBroker, make_stream=made.MemoryStream)
    )
