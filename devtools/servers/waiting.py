"""Waiting for a condition, with a deadline: the only way that anything here waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from common.errors import StackError

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T | None],
    *,
    deadline_seconds: float,
    what: str,
    poll_seconds: float = 0.02,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """The first true value of ``condition``, asked at once and then every ``poll_seconds``.

    Raises :class:`StackError` that names ``what`` was waited for when the deadline has passed. The
    condition is asked once more after the last sleep, so a stalled machine does not fail a wait.
    """
    deadline = clock() + deadline_seconds
    while True:
        late = clock() >= deadline
        value = condition()
        if value:
            return value
        if late:
            raise StackError(f"{what}: not within {deadline_seconds:g} s")
        sleep(poll_seconds)
