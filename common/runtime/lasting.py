"""When to report what lasts: once when it begins or changes, then once a minute with its sums.

A dependency that is away fails each attempt alike; a line for each would fill the log with nothing
new and hide the rest of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from common.state.verdict import Entry

REPEAT_SECONDS = 60.0
# Waits and times in a reason change while the reason stays the same.
_NUMBER = re.compile(r"\d+(\.\d+)?")


class Lasting:
    """One thing that may last, and what it held since it was last reported."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        repeat_seconds: float = REPEAT_SECONDS,
    ) -> None:
        self._clock = clock
        self._repeat_seconds = repeat_seconds
        self._reason: str | None = None
        self._repeat_at = float("-inf")
        self._times = self._entries = self._samples = 0
        self._open = False

    def again(self, reason: str, held: Sequence[Entry] = ()) -> dict[str, Any] | None:
        """It happened (again) and held these entries: what to report now, if anything."""
        self._times += 1
        self._entries += len(held)
        self._samples += sum(entry.samples for entry in held)
        short, now = _NUMBER.sub("#", reason), self._clock()
        if short == self._reason and now < self._repeat_at:
            return None
        report = {
            "reason": reason,
            "times": self._times,
            "entries": self._entries,
            "samples": self._samples,
        }
        self._reason, self._repeat_at, self._open = short, now + self._repeat_seconds, True
        self._times = self._entries = self._samples = 0
        return report

    def over(self) -> bool:
        """It is over; whether that is news, because its beginning was."""
        was_open, self._open = self._open, False
        return was_open
