"""How often back-pressure is checked: it costs Redis time that grows with what is in flight."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.exceptions import RedisError

from services.extractor.pressure import CHECK_EVERY_SECONDS, CHECK_SHARE, BackPressure


class Pressed:
    """Windows of which only the pressure is checked, each time for ``took_seconds``."""

    def __init__(self) -> None:
        self.now = 100.0
        self.took_seconds = 0.0
        self.result: tuple[bool, int] | RedisError = (False, 0)
        self.checks = 0

    def pressure(self, high_water_bytes: int, low_water_bytes: int) -> tuple[bool, int]:
        assert (high_water_bytes, low_water_bytes) == (800, 200)
        self.checks += 1
        self.now += self.took_seconds
        if isinstance(self.result, RedisError):
            raise self.result
        return self.result


def pressure(windows: Pressed, seen: list[tuple[Any, ...]]) -> BackPressure:
    return BackPressure(
        cast(Any, windows),
        cast(Any, SimpleNamespace(high_water_bytes=800, low_water_bytes=200)),
        cast(Any, SimpleNamespace(emit=lambda event, **fields: seen.append((event,)))),
        lambda *state: seen.append(state),
        clock=lambda: windows.now,
    )


def test_a_result_counts_for_a_moment() -> None:
    windows, seen = Pressed(), list[tuple[Any, ...]]()
    back_pressure = pressure(windows, seen)
    assert not back_pressure.paused()
    windows.result = (True, 900)
    windows.now += CHECK_EVERY_SECONDS * 0.9
    assert not back_pressure.paused()
    assert windows.checks == 1
    windows.now += CHECK_EVERY_SECONDS * 0.2
    assert back_pressure.paused()
    assert windows.checks == 2
    assert seen == [
        ("back_pressure_on",),
        ("back_pressure", True, "extraction pauses: 900 bytes in flight"),
    ]
    windows.result = (False, 100)
    windows.now += CHECK_EVERY_SECONDS * 1.1
    assert not back_pressure.paused()
    assert seen[2:] == [("back_pressure_off",), ("back_pressure", True, "")]


def test_a_slow_check_is_made_less_often() -> None:
    windows = Pressed()
    windows.took_seconds = 0.2
    back_pressure = pressure(windows, [])
    began = windows.now
    while windows.now < began + 60:
        back_pressure.paused()
        windows.now += 0.01
    share = windows.checks * windows.took_seconds / 60
    assert 0.8 * CHECK_SHARE < share <= CHECK_SHARE * 1.05


def test_a_failed_check_is_made_again_at_once() -> None:
    windows = Pressed()
    back_pressure = pressure(windows, [])
    assert not back_pressure.paused()
    windows.now += 1
    windows.result = RedisError("away")
    for _ in range(2):
        with pytest.raises(RedisError):
            back_pressure.paused()
    windows.result = (True, 900)
    assert back_pressure.paused()
