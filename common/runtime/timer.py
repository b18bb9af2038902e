"""Calling something later, from one thread for all that is waited for.

A thread for each request, or for each lease, is started far more often than it has to do anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from common.runtime.lasting import Lasting


def _nothing() -> None:
    """What is left of a call that was cancelled."""


class Timed:
    """A call to come; made by :meth:`Timer.at`."""

    def __init__(self, timer: Timer, deadline: float, action: Callable[[], object]) -> None:
        self._timer = timer
        self.deadline = deadline
        self.action = action

    def move(self, deadline: float) -> None:
        """Have it called then instead; cheap, and nothing if it was called already."""
        self.deadline = deadline
        self._timer.wake_before(deadline)

    def cancel(self) -> None:
        """It is not called any more, unless that has just begun."""
        self._timer.forget(self)
        # Whoever made this call often holds it, and what it holds would live until it is collected.
        self.action = _nothing


class Timer:
    """Calls actions at instants of ``time.monotonic``, in a thread that the first of them starts.

    An action must be short. An error of one is told as that of a thread is, though not each time
    while it lasts, and keeps nothing from the others.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._failing = Lasting()
        self._changed = threading.Condition()
        self._waiting: set[Timed] = set()
        self._wakes_at = float("inf")
        self._thread: threading.Thread | None = None

    def at(self, deadline: float, action: Callable[[], object]) -> Timed:
        """Call ``action`` then."""
        timed = Timed(self, deadline, action)
        with self._changed:
            self._waiting.add(timed)
            if self._thread is None or not self._thread.is_alive():  # or this is a forked child
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        self.wake_before(deadline)
        return timed

    def wake_before(self, deadline: float) -> None:
        """The thread must look at its calls by then; it is woken only to be earlier."""
        if deadline < self._wakes_at:
            with self._changed:
                self._changed.notify()

    def forget(self, timed: Timed) -> None:
        """A call that was cancelled."""
        with self._changed:
            self._waiting.discard(timed)

    def _run(self) -> None:
        while True:
            with self._changed:
                # From here on, whoever moves a call notifies: it may have been looked at already.
                self._wakes_at = float("inf")
                first = min(self._waiting, key=lambda timed: timed.deadline, default=None)
                now = time.monotonic()
                if first is None:
                    self._changed.wait()
                    continue
                if (left_seconds := first.deadline - now) > 0:
                    self._wakes_at = first.deadline
                    self._changed.wait(left_seconds)
                    continue
                self._waiting.discard(first)
            try:
                first.action()
            except Exception as error:
                self._tell(error)

    def _tell(self, error: Exception) -> None:
        if self._failing.again(repr(error)):
            details = (type(error), error, error.__traceback__, threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(details))
