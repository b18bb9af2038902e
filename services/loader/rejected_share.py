"""The share of samples that the sink rejects, over the latest of them.

A bad deploy must stop the loader, not empty the stream into the dead letters. The loader then
pauses, with cause ``rejected_share``, and lets a probe through now and then: the entries at the
head of the stream, judged alone. If the sink takes enough of them, the count begins anew.
"""

from __future__ import annotations

import threading
from collections import deque

REJECTED_SHARE = "rejected_share"


class RejectedShare:
    """A sliding count: the fewest latest settlements that make up ``min_samples``."""

    def __init__(self, *, max_share: float, min_samples: int) -> None:
        self.max_share = max_share
        self._min_samples = min_samples
        self._latest: deque[tuple[int, int]] = deque()
        self._samples = 0
        self._rejected = 0
        self._lock = threading.Lock()

    @property
    def value(self) -> float:
        """Rejected by all, of the latest samples; 0 before there are any."""
        with self._lock:
            return self._rejected / self._samples if self._samples else 0.0

    def exceeded_by(self, samples: int, rejected: int, *, alone: bool = False) -> bool:
        """Whether settling ``samples`` more, of which ``rejected`` are dead letters, is too much.

        Not before ``min_samples`` have been judged, these included. ``alone``: only these count,
        however few they are.
        """
        if not rejected:
            return False
        with self._lock:
            if alone:
                return rejected > self.max_share * samples
            total = self._samples + samples
            return total >= self._min_samples and self._rejected + rejected > self.max_share * total

    def add(self, samples: int, rejected: int) -> None:
        """Count what is being settled."""
        with self._lock:
            self._latest.append((samples, rejected))
            self._samples += samples
            self._rejected += rejected
            while self._samples - self._latest[0][0] >= self._min_samples:
                old_samples, old_rejected = self._latest.popleft()
                self._samples -= old_samples
                self._rejected -= old_rejected

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._latest.clear()
            self._samples = self._rejected = 0
