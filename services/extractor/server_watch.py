"""What planning looks after at Redis itself: its eviction policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from redis import Redis
from redis.exceptions import NoPermissionError

from common.runtime.telemetry import Telemetry
from common.state.connection.server import eviction


@dataclass
class ServerWatch:
    """Checks the server at each planning turn; ``set_ready`` gets the check ``redis_eviction``."""

    redis: Redis
    telemetry: Telemetry
    set_ready: Callable[[str, bool, str], None]
    _forbidden: bool = field(default=False, init=False)

    def check(self) -> None:
        """Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.

        Where ``INFO`` is forbidden nothing is looked after, which is reported once; planning
        goes on.
        """
        if self._forbidden:
            return
        try:
            unsafe = eviction(self.redis)
        except NoPermissionError as error:
            self._forbidden = True
            self.telemetry.emit("redis_unchecked", error=str(error))
            return
        self.set_ready("redis_eviction", unsafe is None, unsafe or "")
