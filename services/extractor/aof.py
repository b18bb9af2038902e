"""Healing Redis' append-only file after a crash, and after a disk that was full.

A script is one ``MULTI … EXEC`` in the file. When a crash of the host cuts the file within one,
Redis loads it rightly (the cut transaction is not applied) but removes only the cut command, not
the ``MULTI`` before it, if ``aof-load-truncated`` is ``yes``, its default (seen with 7.0). What is
written from then on stands behind half a script, and at the next start that half is applied.

When the disk is full after a rewrite, half a command stays in the file (seen with 7.0, 8.0 and
Valkey 8.1), and when there is room again Redis writes on behind it: a file that no start can read.

A rewrite of the file ends both. So every Redis that is new to us is requested to make one, and each
that writes its file again after it could not.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from common.runtime.process import Events

# An outage that is shorter can pass unseen.
CHECK_SECONDS = 2.0
# Between two requests for the same rewrite, which forks: it may have failed for want of room.
AGAIN_SECONDS = 60.0
_NEW, _WRITES_AGAIN, _REWRITE_FAILED = "new", "writes_again", "rewrite_failed"


@dataclass
class AofHealer:
    """Requests Redis to write its append-only file anew, until it has done so.

    ``answered`` is called whenever Redis has served a check.
    """

    redis: Redis
    telemetry: Events
    clock: Callable[[], float] = time.monotonic
    answered: Callable[[], None] = lambda: None
    _seen: str | None = field(default=None, init=False)
    _failing: bool = field(default=False, init=False)
    _owed: str | None = field(default=None, init=False)
    _requested_at: float | None = field(default=None, init=False)
    _refused: str | None = field(default=None, init=False)

    def run(self, stop: threading.Event) -> None:
        """Check until ``stop`` is set. Not a job: while the disk is full, Redis takes none."""
        while True:
            with contextlib.suppress(RedisError):  # who works with Redis reports it
                self.check()
            if stop.wait(CHECK_SECONDS):
                return

    def check(self) -> bool:
        """Whether a rewrite was requested now.

        Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
        """
        try:
            info: Any = self.redis.info("server", "persistence")
        except ResponseError as error:  # a user without this right
            self._report_refusal(str(error))
            return False
        if not info.get("loading"):  # while it loads, it answers to this and to nothing else
            self.answered()
        if not info.get("aof_enabled"):
            return False
        self._notice(info)
        if self._owed is None:
            return False
        if _rewriting(info):
            if self._owed == _NEW:
                self._owed = None  # another extractor was faster
            return False
        return self._request(self._owed, str(info.get("run_id")))

    def _notice(self, info: Any) -> None:
        """Find out whether a rewrite is owed, and why."""
        run_id = str(info.get("run_id"))
        if run_id != self._seen:
            self._seen, self._failing = run_id, False
            self._owe(_NEW)
        if info.get("aof_last_write_status") == "err":
            if not self._failing:
                self.telemetry.emit("aof_write_failed", run_id=run_id)
            self._failing = True
            self._owed = None  # there is no room for it either
        elif self._failing:
            self._failing = False
            self._owe(_WRITES_AGAIN)
        elif self._requested_at is not None and not _rewriting(info):
            if info.get("aof_last_bgrewrite_status") == "err":
                if self.clock() - self._requested_at >= AGAIN_SECONDS:
                    self._owe(_REWRITE_FAILED)
            else:
                self._requested_at = None

    def _owe(self, why: str) -> None:
        self._owed, self._requested_at = why, None

    def _request(self, why: str, run_id: str) -> bool:
        try:
            self.redis.bgrewriteaof()
        except ResponseError as error:
            self._report_refusal(str(error))
            if "in progress" not in str(error):
                self._owed = None  # it is not allowed to us
            return False
        self._owed, self._requested_at, self._refused = None, self.clock(), None
        self.telemetry.emit("aof_rewrite_requested", run_id=run_id, why=why)
        return True

    def _report_refusal(self, error: str) -> None:
        if error != self._refused:
            self._refused = error
            self.telemetry.emit("aof_rewrite_refused", error=error)


def _rewriting(info: Any) -> bool:
    return bool(info.get("aof_rewrite_in_progress") or info.get("aof_rewrite_scheduled"))
