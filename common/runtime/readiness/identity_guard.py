"""A process pauses while the namespace that it works on belongs to another pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from redis import Redis
from redis.exceptions import RedisError

from common.config import Settings
from common.runtime.telemetry import Telemetry
from common.state.identity import IdentityRecord, conflict, identity_of
from common.state.keys import Keys
from common.state.verdict import Entry, Handler, Verdict

# How often a process that works looks again: the record may have been changed meanwhile.
CHECK_EVERY_SECONDS = 15.0


class IdentityGuard:
    """Tells why this process must not work; its event is written when that changes."""

    def __init__(
        self,
        redis: Redis,
        settings: Settings,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._namespace = settings.pipeline.redis_namespace
        self._record = IdentityRecord(redis, Keys(self._namespace))
        self._ours = identity_of(settings)
        self._telemetry = telemetry
        self._clock = clock
        self._checked_at = float("-inf")
        self._reason: str | None = None

    def reason(self) -> str | None:
        """Why not, or None; while all is well Redis is asked now and then only.

        Raises :class:`redis.exceptions.RedisError`.
        """
        if self._reason is None and self._clock() - self._checked_at < CHECK_EVERY_SECONDS:
            return None
        recorded = self._record.claim(self._ours)
        self._checked_at = self._clock()
        reason = conflict(self._ours, recorded, self._namespace)
        if reason is not None and reason != self._reason:
            self._telemetry.emit("identity_conflict", reason=reason)
        self._reason = reason
        return reason

    def doubt(self) -> None:
        """Redis failed what came after: it is asked the next time."""
        self._checked_at = float("-inf")


class GuardedHandler:
    """A stage's handler whose dependency is also that the namespace is its pipeline's."""

    def __init__(self, handler: Handler, guard: IdentityGuard) -> None:
        self._handler = handler
        self._guard = guard

    @property
    def stage(self) -> str:
        """The stage's name."""
        return self._handler.stage

    def handle(self, entries: Sequence[Entry]) -> list[Verdict]:
        """What the handler makes of them."""
        return self._handler.handle(entries)

    def check(self) -> str | None:
        """Why the stage must not work, or None."""
        try:
            reason = self._guard.reason()
        except RedisError as error:
            return f"Redis did not respond: {error}"
        return reason if reason is not None else self._handler.check()

    def close(self) -> None:
        """Release the handler's connections."""
        self._handler.close()
