"""How often back-pressure is asked about: it costs Redis time that grows with what is in flight."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.exceptions import RedisError

from services.extractor.jobs import PRESSURE_EVERY_SECONDS, PRESSURE_SHARE, Context


class Pressed:
    """Windows of which only the pressure is asked, each time for ``took_seconds``."""

    def __init__(self) -> None:
        self.now = 100.0
        self.took_seconds = 0.0
        self.answer: tuple[bool, int] | RedisError = (False, 0)
        self.asked = 0

    def pressure(self, high_water_bytes: int, low_water_bytes: int) -> tuple[bool, int]:
        assert (high_water_bytes, low_water_bytes) == (800, 200)
        self.asked += 1
        self.now += self.took_seconds
        if isinstance(self.answer, RedisError):
            raise self.answer
        return self.answer


def context(windows: Pressed, told: list[tuple[Any, ...]]) -> Context:
    """A job's surroundings of which only those of back-pressure are there."""
    nothing = cast(Any, None)
    return Context(
        plans=[],
        planner=nothing,
        extractor=nothing,
        rechecker=nothing,
        aof_healer=nothing,
        windows=cast(Any, windows),
        doorbell=nothing,
        pipeline=cast(Any, SimpleNamespace(high_water_bytes=800, low_water_bytes=200)),
        telemetry=cast(Any, SimpleNamespace(emit=lambda event, **fields: told.append((event,)))),
        stop=nothing,
        tick=nothing,
        on_source=nothing,
        set_ready=lambda *state: told.append(state),
        clock=lambda: windows.now,
    )


def test_an_answer_holds_for_a_moment() -> None:
    windows, told = Pressed(), list[tuple[Any, ...]]()
    jobs = context(windows, told)
    assert not jobs.paused()
    windows.answer = (True, 900)
    windows.now += PRESSURE_EVERY_SECONDS * 0.9
    assert not jobs.paused()
    assert windows.asked == 1
    windows.now += PRESSURE_EVERY_SECONDS * 0.2
    assert jobs.paused()
    assert windows.asked == 2
    assert told == [
        ("back_pressure_on",),
        ("back_pressure", True, "extraction pauses: 900 bytes in flight"),
    ]
    windows.answer = (False, 100)
    windows.now += PRESSURE_EVERY_SECONDS * 1.1
    assert not jobs.paused()
    assert told[2:] == [("back_pressure_off",), ("back_pressure", True, "")]


def test_a_slow_answer_is_asked_for_less_often() -> None:
    windows = Pressed()
    windows.took_seconds = 0.2
    jobs = context(windows, [])
    began = windows.now
    while windows.now < began + 60:
        jobs.paused()
        windows.now += 0.01
    share = windows.asked * windows.took_seconds / 60
    assert 0.8 * PRESSURE_SHARE < share <= PRESSURE_SHARE * 1.05


def test_a_failed_question_is_asked_again_at_once() -> None:
    windows = Pressed()
    jobs = context(windows, [])
    assert not jobs.paused()
    windows.now += 1
    windows.answer = RedisError("away")
    for _ in range(2):
        with pytest.raises(RedisError):
            jobs.paused()
    windows.answer = (True, 900)
    assert jobs.paused()
