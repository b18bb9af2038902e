"""Healing Redis' append-only file after a crash.

A script is one ``MULTI … EXEC`` in the file. When a crash of the host cuts the file within one,
Redis loads it rightly (the cut transaction is not applied) but removes only the cut command, not
the ``MULTI`` before it, if ``aof-load-truncated`` is ``yes``, its default (seen with 7.0). What is
written from then on stands behind half a script, and at the next start that half is applied. A
rewrite of the file ends this, so every Redis that is new to us is requested to make one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from common.runtime.telemetry import Telemetry


@dataclass
class AofHealer:
    """Requests each run of a server once to write its append-only file anew."""

    redis: Redis
    telemetry: Telemetry
    _seen: str | None = field(default=None, init=False)

    def check(self) -> bool:
        """Whether a rewrite was requested now.

        Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
        """
        info: Any = self.redis.info("server")
        run_id = str(info.get("run_id"))
        if run_id == self._seen:
            return False
        self._seen = run_id
        persistence: Any = self.redis.info("persistence")
        if not persistence.get("aof_enabled"):
            return False
        try:
            self.redis.bgrewriteaof()
        except ResponseError as error:
            # Under way already (another extractor was faster), or not allowed to us.
            self.telemetry.emit("aof_rewrite_refused", error=str(error))
            return False
        self.telemetry.emit("aof_rewrite_requested", run_id=run_id)
        return True
