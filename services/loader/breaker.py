"""The circuit breaker towards the sink.

The state machine is pybreaker's: after ``failures`` strained posts in a row the circuit opens,
after ``open_seconds`` it is half open and lets posts through, of which the first decides. The
library reads the wall clock; its storage is the place where an own clock can be given to it, so
time can be injected and a clock that is set back does not keep the circuit open.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import IntEnum

import pybreaker

from services.loader.responses import Outcome


class CircuitState(IntEnum):
    """The value is the metric's."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


_STATES = {
    pybreaker.STATE_CLOSED: CircuitState.CLOSED,
    pybreaker.STATE_HALF_OPEN: CircuitState.HALF_OPEN,
    pybreaker.STATE_OPEN: CircuitState.OPEN,
}


class _Strained(Exception):
    """Carries an outcome through the breaker, which counts exceptions."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.words)
        self.outcome = outcome


class _Storage(pybreaker.CircuitMemoryStorage):
    """State in memory, with the instant of opening kept by an injected clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(pybreaker.STATE_CLOSED)
        self._clock = clock
        self._count_lock = threading.Lock()
        self._opened_seconds: float | None = None

    @property
    def opened_at(self) -> datetime | None:
        """When the circuit opened, as the library reckons: now less the time that has passed."""
        if self._opened_seconds is None:
            return None
        return datetime.now(UTC) - timedelta(seconds=self._clock() - self._opened_seconds)

    @opened_at.setter
    def opened_at(self, _: datetime) -> None:
        self._opened_seconds = self._clock()

    def increment_counter(self) -> None:
        """Posts fail from several threads; the library's own count is not atomic."""
        with self._count_lock:
            super().increment_counter()

    def open_seconds(self) -> float:
        """How long ago the circuit opened."""
        return self._clock() - (self._opened_seconds or 0.0)


class _Listener(pybreaker.CircuitBreakerListener):
    def __init__(self, changed: Callable[[CircuitState], None]) -> None:
        self._changed = changed

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        self._changed(_STATES[new_state.name])


class Circuit:
    """Lets posts through, or not. Safe to use from several threads at a time."""

    def __init__(
        self,
        *,
        failures: int,
        open_seconds: float,
        changed: Callable[[CircuitState], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_seconds = open_seconds
        self._storage = _Storage(clock)
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=failures,
            reset_timeout=open_seconds,
            state_storage=self._storage,
            listeners=[_Listener(changed)],
            throw_new_error_on_trip=False,
        )

    @property
    def state(self) -> CircuitState:
        """The state as of the last post: an open circuit turns half open when it is used."""
        return _STATES[self._breaker.current_state]

    @property
    def seconds_left(self) -> float:
        """How long the circuit lets nothing through; 0 if it would."""
        if self.state is not CircuitState.OPEN:
            return 0.0
        return max(0.0, self._open_seconds - self._storage.open_seconds())

    def call(self, post: Callable[[], Outcome]) -> Outcome | None:
        """The post's outcome, or None if the circuit is open and nothing was posted."""
        try:
            with self._breaker.calling():
                outcome = post()
                if outcome.strains:
                    raise _Strained(outcome)
                return outcome
        except _Strained as strained:
            return strained.outcome
        except pybreaker.CircuitBreakerError:
            return None
