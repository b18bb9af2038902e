"""Buckets that only some series are for (``load.bucket_from``): one that takes nothing stops no
other.

What is for such a bucket waits without being posted. The wait doubles with each post that is
refused, so that many entries that wait cost little. One of these buckets is probed with each check
of the sink, in turn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from common.runtime.backoff import Backoff
from common.state.verdict import Retry
from services.loader.responses import PAUSES, Kind, Outcome, describe

LONGEST_WAIT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class _Unusable:
    """``needs_points``: that a request without points is accepted says nothing of its cause."""

    reason: str
    refusals: int
    try_at_seconds: float
    needs_points: bool


@dataclass
class OtherBuckets:
    """Safe to use from any thread. Instants are seconds of ``clock``."""

    names: tuple[str, ...] = ()
    first_wait_seconds: float = 15.0
    clock: Callable[[], float] = time.monotonic
    _unusable: dict[str, _Unusable] = field(default_factory=dict, init=False)
    _turn: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        longest_seconds = max(self.first_wait_seconds, LONGEST_WAIT_SECONDS)
        self._backoff = Backoff(self.first_wait_seconds, longest_seconds)

    def __contains__(self, bucket: str) -> bool:
        return bucket in self.names

    def refused(self, outcome: Outcome, bucket: str) -> Retry:
        """It does not take what is for it: the verdict for that."""
        with self._lock:
            now = self.clock()
            before = self._unusable.get(bucket) or _Unusable("", 0, now, needs_points=False)
            refusals, try_at_seconds = before.refusals, before.try_at_seconds
            if now >= try_at_seconds:  # else another thread has just come to the same end
                refusals += 1
                try_at_seconds = now + self._backoff.bound_seconds(refusals)
            reason, needs_points = describe(outcome, bucket), outcome.kind is Kind.CAPACITY
            self._unusable[bucket] = _Unusable(reason, refusals, try_at_seconds, needs_points)
            return Retry(try_at_seconds - now, reason)

    def waiting(self, bucket: str) -> Retry | None:
        """The verdict for what is for it, until the time comes to try it again."""
        with self._lock:
            known = self._unusable.get(bucket)
            left_seconds = 0.0 if known is None else known.try_at_seconds - self.clock()
            return Retry(left_seconds, known.reason) if known and left_seconds > 0 else None

    def judges(self, bucket: str) -> None:
        """It took points, or refused some for what they are."""
        with self._lock:
            self._unusable.pop(bucket, None)

    def look(self, probe: Callable[[str], Outcome]) -> str:
        """Probe the next of them. Which of all are known to take nothing, and why; empty: none.

        One at a time: it may take as long as the sink's time-out, and nothing is loaded meanwhile.
        """
        if not self.names:
            return ""
        bucket = self.names[self._turn % len(self.names)]
        self._turn += 1
        outcome = probe(bucket)
        with self._lock:
            known = self._unusable.get(bucket)
            if known is not None and outcome.kind is Kind.WRITTEN and not known.needs_points:
                del self._unusable[bucket]
        if outcome.kind in PAUSES:
            self.refused(outcome, bucket)
        with self._lock:
            said = {name: one.reason for name, one in self._unusable.items()}
        if outcome.kind is not Kind.WRITTEN:
            said[bucket] = describe(outcome, bucket)
        return "; ".join(said[name] for name in self.names if name in said)
