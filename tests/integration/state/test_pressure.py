"""Extraction pauses by what Redis' memory holds, and by what it will hold."""

from __future__ import annotations

import pytest

from common.state.verdict import Output, Settle
from common.state.windows import MOST_GROWTH
from tests.doubles.size_classes import ENTRY_OVERHEAD_BYTES, allocated_bytes
from tests.integration.state.worlds import (
    FEED,
    STEP_MS,
    Windows,
    World,
    live,
    must,
)


def test_pressure_has_hysteresis(windows: Windows, world: World) -> None:
    windows.plan(FEED, 0, 10 * STEP_MS)
    window = must(live(windows))
    assert windows.pressure(3000, 1000) == (False, 0)
    staged = [windows.stage(b"x" * 4000, 1, 60)]
    paused, in_flight_bytes = windows.pressure(3000, 1000)
    assert paused
    assert in_flight_bytes >= 4000
    windows.commit(FEED, window, staged)

    assert windows.pressure(10**6, 1000)[0], "it stays paused until below the low-water mark"
    world.delete_records()
    assert windows.pressure(3000, 1000) == (False, 0)


@pytest.mark.parametrize("size_bytes", [1, 16, 17, 64, 65, 5_000, 40_960, 40_961, 564_000])
def test_pressure_counts_what_redis_allocates(windows: Windows, size_bytes: int) -> None:
    windows.stage(b"x" * size_bytes, 1, 60)

    _, in_flight_bytes = windows.pressure(10**9, 1000)

    assert in_flight_bytes == allocated_bytes(size_bytes)


@pytest.mark.parametrize(
    ("point_bytes", "growth"), [(3 * 8192, 3.0), (800, 1.0), (9 * 8192, MOST_GROWTH)]
)
def test_what_is_raw_counts_as_it_will_be_once_transformed(
    windows: Windows, world: World, point_bytes: int, growth: float
) -> None:
    """Nothing stops the transformer from turning it into something larger."""
    transformer = world.stream("transformer")
    windows.plan(FEED, 0, 10 * STEP_MS)
    for _ in range(2):
        window = must(live(windows, longest_ms=STEP_MS))
        raw_bytes = 8192 - ENTRY_OVERHEAD_BYTES
        windows.commit(FEED, window, [windows.stage(b"x" * raw_bytes, 10, 60)])
    (entry,) = transformer.read(1, 0)
    points = Output(b"y" * (point_bytes - ENTRY_OVERHEAD_BYTES), 10)
    transformer.settle(entry, Settle(outputs=[points]), "transformer")
    windows.stage(b"x" * 8192, 10, 60)

    _, in_flight_bytes = windows.pressure(10**9, 1000)

    assert in_flight_bytes == allocated_bytes(point_bytes) + 2 * 8192 * growth
