"""Whether the source answers for time before its own lowest timestamp: from a long-term store.

A Prometheus with ``remote_read`` reports where its own data begins, but serves older samples too.
Nothing that it reports tells so everywhere; a few instant queries do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from common.config import Query

# Instants that are asked for: the oldest, and each half as far from the lowest timestamp as the one
# before.
PROBES = 6
# How long an answer stands.
KEPT_SECONDS = 60.0


@dataclass
class OlderHistory:
    """Asks whether a query has samples before the lowest timestamp, at most once a minute.

    ``answers_at`` tells whether the source has any samples for a query at a time in ms.
    """

    answers_at: Callable[[Query, int], bool] = lambda query, time_ms: False
    clock: Callable[[], float] = time.monotonic
    # Query and lowest timestamp → when it was asked, from when on, and what came of it.
    _known: dict[tuple[str, int], tuple[float, int, bool]] = field(default_factory=dict, init=False)

    def reaches_back(self, query: Query, from_ms: int, lowest_ms: int, now_ms: int) -> bool:
        """Whether any of it is there from ``from_ms`` on and before ``lowest_ms``.

        One that holds nothing reports a lowest timestamp far in the future.

        Raises :class:`common.errors.SourceError` when the source does not respond.
        """
        if from_ms >= lowest_ms:
            return False
        asked_at, asked_ms, found = self._known.get(
            (query.name, lowest_ms), (float("-inf"), from_ms, False)
        )
        # That nothing was found says nothing of what lies before.
        if self.clock() - asked_at > KEPT_SECONDS or (from_ms < asked_ms and not found):
            until_ms = min(lowest_ms, now_ms)
            span_ms = until_ms - from_ms
            found = any(
                self.answers_at(query, max(0, until_ms - max(1, span_ms >> halves)))
                for halves in range(PROBES)
            )
            since = self.clock() - KEPT_SECONDS
            self._known = {key: known for key, known in self._known.items() if known[0] >= since}
            self._known[query.name, lowest_ms] = self.clock(), from_ms, found
        return found
