"""Calls that are to come, from one thread."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest

from common.runtime.timer import Timer

WAIT_SECONDS = 30.0
LONG_SECONDS = 3600.0


def test_calls_come_in_the_order_of_their_time() -> None:
    timer, called, done = Timer("timer-under-test"), [], threading.Event()
    now = time.monotonic()
    timer.at(now + 0.03, done.set)
    timer.at(now + 0.02, lambda: called.append("second"))
    timer.at(now + 0.01, lambda: called.append("first"))
    assert done.wait(WAIT_SECONDS)
    assert called == ["first", "second"]


def test_a_call_that_is_moved_comes_then() -> None:
    timer, called = Timer("timer-under-test"), threading.Event()
    timed = timer.at(time.monotonic() + LONG_SECONDS, called.set)
    timed.move(time.monotonic())
    assert called.wait(WAIT_SECONDS)


def test_a_cancelled_call_does_not_come() -> None:
    timer, called, done = Timer("timer-under-test"), threading.Event(), threading.Event()
    now = time.monotonic()
    timer.at(now + 0.01, called.set).cancel()
    timer.at(now + 0.02, done.set)
    assert done.wait(WAIT_SECONDS)
    assert not called.is_set()


def test_whoever_cancels_a_call_is_freed_at_once() -> None:
    class Caller:
        def __init__(self) -> None:
            self.timed = Timer("timer-under-test").at(time.monotonic() + LONG_SECONDS, self.act)

        def act(self) -> None: ...

    gc.disable()
    try:
        caller = Caller()
        freed = weakref.ref(caller)
        caller.timed.cancel()
        del caller
        assert freed() is None
    finally:
        gc.enable()


def test_all_calls_share_one_thread() -> None:
    timer = Timer("one-of-all")
    for _ in range(100):
        timer.at(time.monotonic() + LONG_SECONDS, lambda: None)
    assert [thread.name for thread in threading.enumerate()].count("one-of-all") == 1


def test_a_call_that_fails_is_told_once_and_keeps_no_other_from_coming(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    timer, done = Timer("failing-timer"), threading.Event()
    now = time.monotonic()
    timer.at(now + 0.03, done.set)
    for wait_seconds in (0.01, 0.02):
        timer.at(now + wait_seconds, [].pop)
    assert done.wait(WAIT_SECONDS)
    (failed,) = told
    assert isinstance(failed.exc_value, IndexError) and failed.thread is not None
    assert failed.thread.name == "failing-timer" and failed.thread.is_alive()
