"""The entries that a stage works on: their leases are renewed until it has given them back."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from redis.exceptions import RedisError

from common.runtime.telemetry import Telemetry
from common.state.stream import RedisStream
from common.state.verdict import Entry


class InHand:
    """Safe to use from several threads: leases are renewed in one, a watchdog releases in another.

    ``stage`` is named in events.
    """

    def __init__(self, stream: RedisStream, telemetry: Telemetry, stage: str) -> None:
        self._stream = stream
        self._telemetry = telemetry
        self._stage = stage
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()

    def add(self, entries: Sequence[Entry]) -> None:
        """Take entries in hand."""
        with self._lock:
            self._entries.update({entry.id: entry for entry in entries})

    def remove(self, entries: Sequence[Entry]) -> None:
        """They are settled or released."""
        with self._lock:
            for entry in entries:
                self._entries.pop(entry.id, None)

    def release(self) -> None:
        """Release them to other workers, without counting a crash; this one takes no more."""
        with self._lock:
            ids = list(self._entries)
            self._entries.clear()
        try:
            if ids:
                self._stream.release(ids)
            self._stream.forget_consumers(0, only_self=True)
        except RedisError as error:
            # They stay pending, and are claimed when their lease has run out.
            self._telemetry.emit("release_failed", entries=len(ids), error=str(error))

    def renew(self) -> bool:
        """Renew their leases; False if none is ours any more."""
        with self._lock:
            ids = list(self._entries)
        try:
            lost = self._stream.renew(ids)
        except RedisError as error:
            self._telemetry.emit("redis_unavailable", stage=self._stage, error=str(error))
            return True
        for id_ in lost:
            # Settled a moment ago, or somebody else's now; its settlement will be refused.
            with self._lock:
                ours = self._entries.pop(id_, None)
            if ours is not None:
                self._telemetry.emit("lease_lost", stage=self._stage, entry=id_)
        return len(lost) < len(ids)
