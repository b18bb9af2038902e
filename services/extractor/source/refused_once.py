"""Windows that are refused once, so that they are split, and read as they are if they could not be.

What a split gives comes back in parts. Parts that could not be read become one window again, and
that must be split once more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from common.errors import QueryTooLarge

# Windows that are remembered: those of several queries and tiers come again in turn.
MOST_REFUSED = 1000

Asked = tuple[str, int, int]  # the query's name, and ``(start_ms, end_ms]``


@dataclass(slots=True)
class RefusedOnce:
    """Remembers what was refused."""

    _refused: deque[Asked] = field(default_factory=lambda: deque(maxlen=MOST_REFUSED), init=False)

    def asked(self, window: Asked) -> None:
        """A window comes: whatever it is a part of could be split."""
        self._keep(lambda other: not _is_part(window, other))

    def refuse(self, window: Asked, why: str) -> None:
        """Raise :class:`QueryTooLarge`, unless that was done before."""
        if window not in self._refused:
            # Of its parts nothing is known any more: they have become one again.
            self._keep(lambda other: not _is_part(other, window))
            self._refused.append(window)
            _, start_ms, end_ms = window
            raise QueryTooLarge(f"({start_ms}, {end_ms}] ms {why}")

    def _keep(self, wanted: Callable[[Asked], bool]) -> None:
        if not all(map(wanted, self._refused)):
            self._refused = deque(filter(wanted, self._refused), maxlen=MOST_REFUSED)


def _is_part(window: Asked, other: Asked) -> bool:
    """Of another window, and not all of it."""
    (query, start_ms, end_ms), (of_query, from_ms, to_ms) = window, other
    return query == of_query and from_ms <= start_ms and end_ms <= to_ms and window != other
