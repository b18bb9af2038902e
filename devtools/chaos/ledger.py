"""The ledger, read over and over while faults are done."""

from __future__ import annotations

import threading
import time
from typing import Self

from redis.exceptions import RedisError

from common.state.connection.redis_client import connect
from common.state.keys import Keys
from common.state.ledger import Ledger

EVERY_SECONDS = 0.1


class LedgerWatch:
    """Audits from a thread of its own, on a connection of its own; a Redis that is away is skipped.

    ``worst_samples`` is the largest imbalance seen, ``worst_lost_samples`` the most samples that
    were recorded in flight and not there.
    """

    def __init__(self, url: str, keys: Keys) -> None:
        self.audits = 0
        self.worst_samples = 0
        self.worst_lost_samples = 0
        self._redis = connect(url, socket_timeout_seconds=2.0)
        self._ledger = Ledger(self._redis, keys)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="book-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._redis.close()

    def _run(self) -> None:
        while not self._done.wait(EVERY_SECONDS):
            try:
                audit = self._ledger.audit()
            except RedisError:
                time.sleep(EVERY_SECONDS)
                continue
            self.audits += 1
            self.worst_samples = max(self.worst_samples, audit.imbalance_samples)
            self.worst_lost_samples = max(self.worst_lost_samples, audit.lost_samples)
