"""What time it is at the source, as far as that can be believed.

The source's ``time()`` decides what has settled, and so what is read and never read again. One
wrong reading (of a querier whose clock is ahead for seconds) would commit time that has not
happened yet, as empty. So a reading is believed only as far as earlier ones, the ``Date`` of its
own response and our own clock agree with it: to be late loses nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# Clocks that differ by less are the same, NTP and slow responses considered: other readings and
# dates, and our own clock where nothing else is configured.
TOLERANCE_SECONDS = 5.0
# A clock that jumped ahead is believed once readings so far apart agree.
AGREE_AFTER_SECONDS = 30.0
# A difference is shown for so long, so that no scrape misses it.
SHOWN_SECONDS = 60.0
# A reading is carried on by our monotonic clock for so long.
KEPT_SECONDS = 60.0
# HTTP dates are whole seconds, rounded down.
DATE_STEP_MS = 1000


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The source's ``time()`` and the ``Date`` of the response that carried it, both in ms."""

    now_ms: int
    date_ms: int | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    """A reading: when it was requested (monotonic, ms), and how far ahead of that it can be.

    The source read its clock at any moment of the ``trip_ms`` from request to response, so it can
    be ahead by that much less. ``believed_ahead_ms`` goes by the response's ``Date`` where that is
    far behind.
    """

    at_ms: float
    trip_ms: float
    ahead_ms: float
    believed_ahead_ms: float


@dataclass
class SourceClock:
    """Reads the source's clock, compares it with others, and tells what of it to believe.

    ``others`` give the time in ms by their own clocks, by name; ``own_ms`` is the one that the
    source is never believed to be ahead of by more than ``tolerance_seconds``: what it has beyond
    that is not there yet, or is only extracted later where our own clock is wrong. ``show`` is
    called with the name of a clock and how many seconds the source is ahead of it, the greatest
    difference of the last minute. ``on_jump`` is called with seconds when the source's clock has
    jumped, once for each jump. ``show_held_back`` is called with the seconds that are not believed
    because of our own clock, ``on_ahead`` with the source's time in ms and how many seconds it is
    ahead, once until it is believed again.
    """

    read: Callable[[], ClockReading]
    others: Mapping[str, Callable[[], int]] = field(default_factory=dict)
    show: Callable[[str, float], None] = lambda clock, ahead_seconds: None
    on_jump: Callable[[float], None] = lambda ahead_seconds: None
    monotonic: Callable[[], float] = time.monotonic
    own_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    tolerance_seconds: float = TOLERANCE_SECONDS
    show_held_back: Callable[[float], None] = lambda seconds: None
    on_ahead: Callable[[int, float], None] = lambda source_ms, ahead_seconds: None
    _readings: deque[_Kept] = field(default_factory=deque, init=False)
    _shown: dict[str, deque[tuple[float, float]]] = field(default_factory=dict, init=False)
    _jumped: bool = field(default=False, init=False)
    _held_back: bool = field(default=False, init=False)

    @property
    def read_at(self) -> float:
        """When it was read last, by ``monotonic``; before all time where it never was."""
        return self._readings[-1].at_ms / 1000 if self._readings else float("-inf")

    def check(self) -> int:
        """Read it anew; the source's time in ms, as it is believed.

        Raises :class:`common.errors.SourceError` when the source does not respond, and whatever
        ``others`` raise.
        """
        before_ms = self._monotonic_ms()
        reading = self.read()
        own_ms = self.own_ms()
        after_ms = self._monotonic_ms()
        trip_ms = after_ms - before_ms
        self._compare("own", reading.now_ms - own_ms, trip_ms)
        if reading.date_ms is not None:
            # A server with much to do writes the Date long after it took the query.
            date_ms = reading.date_ms + DATE_STEP_MS / 2
            self._compare("date", reading.now_ms - date_ms, DATE_STEP_MS + trip_ms)
        for name, clock_ms in self.others.items():
            self._compare(name, reading.now_ms - clock_ms(), self._monotonic_ms() - before_ms)
        self._hold_back(reading.now_ms, (reading.now_ms - own_ms) / 1000)
        self._notice_jump(reading.now_ms - after_ms, reading.now_ms - before_ms)
        bound_ms = reading.now_ms
        if reading.date_ms is not None:
            bound_ms = min(bound_ms, reading.date_ms + DATE_STEP_MS + _TOLERANCE_MS)
        self._keep(_Kept(before_ms, trip_ms, reading.now_ms - before_ms, bound_ms - before_ms))
        return min(bound_ms, self._believed_ms())

    def believed_ms(self, wanted_ms: int) -> int:
        """The source's time now, read anew only if it may be ``wanted_ms`` by now and is not yet.

        Raises what :meth:`check` raises.
        """
        if self._readings and self._monotonic_ms() - self._readings[-1].at_ms <= _KEPT_MS:
            believed_ms = self._believed_ms()
            if believed_ms >= wanted_ms:
                return believed_ms
        return self.check()

    def _believed_ms(self) -> int:
        """What all readings that are kept agree to have been reached, and our own clock too."""
        # Of readings that agree, the one that proves most; of others, what none of them denies.
        proven_ms = max(kept.believed_ahead_ms - kept.trip_ms for kept in self._readings)
        ahead_ms = min(proven_ms, *(kept.believed_ahead_ms for kept in self._readings))
        return int(
            min(self._monotonic_ms() + ahead_ms, self.own_ms() + self.tolerance_seconds * 1000)
        )

    def _keep(self, reading: _Kept) -> None:
        """One that is old enough to confirm this one is kept however old it is."""
        self._readings.append(reading)
        while (
            len(self._readings) > 1
            and reading.at_ms - self._readings[1].at_ms >= AGREE_AFTER_SECONDS * 1000
        ):
            self._readings.popleft()

    def _hold_back(self, source_ms: int, ahead_seconds: float) -> None:
        """Tell how much of a reading our own clock keeps from being believed."""
        held_back_seconds = max(0.0, ahead_seconds - self.tolerance_seconds)
        self.show_held_back(held_back_seconds)
        if held_back_seconds and not self._held_back:
            self.on_ahead(source_ms, ahead_seconds)
        self._held_back = held_back_seconds > 0

    def _notice_jump(self, least_ahead_ms: float, most_ahead_ms: float) -> None:
        """Compare a reading, so far ahead of our monotonic clock, with those before."""
        if not self._readings:
            return
        # What slow responses leave open is no jump.
        most_known_ms = min(kept.ahead_ms for kept in self._readings)
        least_known_ms = min(kept.ahead_ms - kept.trip_ms for kept in self._readings)
        jump_ms = 0.0
        if least_ahead_ms - most_known_ms > _TOLERANCE_MS:
            jump_ms = least_ahead_ms - most_known_ms
        elif least_known_ms - most_ahead_ms > _TOLERANCE_MS:
            jump_ms = most_ahead_ms - least_known_ms
        if jump_ms and not self._jumped:
            self.on_jump(jump_ms / 1000)
        self._jumped = bool(jump_ms)

    def _compare(self, name: str, ahead_ms: float, uncertain_ms: float) -> None:
        """Show how far the source is ahead of a clock, less what the comparison cannot know."""
        sure_ms = max(0.0, abs(ahead_ms) - uncertain_ms)
        now = self.monotonic()
        seen = self._shown.setdefault(name, deque())
        seen.append((now, sure_ms / 1000 if ahead_ms > 0 else -sure_ms / 1000))
        while now - seen[0][0] > SHOWN_SECONDS:
            seen.popleft()
        self.show(name, max((ahead for _, ahead in seen), key=abs))

    def _monotonic_ms(self) -> float:
        return self.monotonic() * 1000


_TOLERANCE_MS = round(TOLERANCE_SECONDS * 1000)
_KEPT_MS = KEPT_SECONDS * 1000
