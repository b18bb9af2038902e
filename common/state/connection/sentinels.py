"""Which Redis is the master now: Sentinels are asked for it, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError
from redis.sentinel import MasterNotFoundError, Sentinel

from common.redis_url import SentinelAddress

# A Sentinel responds at once or not at all, and whoever needs a connection waits for it: three that
# are cut off are found out in less time than one master is.
SENTINEL_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class SentinelLogin:
    """Whom the Sentinels know; a password without a user is that of their user ``default``."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)


class Sentinels(Sentinel):
    """The Sentinels of a URL. One that is away, refuses or knows no better is passed over."""

    def __init__(
        self, address: SentinelAddress, login: SentinelLogin, options: dict[str, Any]
    ) -> None:
        options = {name: value for name, value in options.items() if name != "protocol"}
        options |= {
            "socket_timeout": SENTINEL_TIMEOUT_SECONDS,
            "socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS,
            "username": login.username,
            "password": login.password,
        }
        super().__init__(address.sentinels, sentinel_kwargs=options)  # type: ignore[no-untyped-call]

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the master.

        Raises :class:`redis.exceptions.ConnectionError` that says of each Sentinel why it does not
        know; redis-py's own lets a refusal of one Sentinel end the search.
        """
        asked, why = self.sentinels, []
        for sentinel in asked:
            try:
                masters: Any = sentinel.sentinel_masters()
                state = masters.get(service_name)
            except RedisError as error:
                reason = str(error)
            else:
                if state is None:
                    reason = "it knows no master of that name"
                elif not self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                    reason = "for it the master is down, and no other was chosen yet"
                else:
                    # The next search begins with one that responds. A new list, because other
                    # threads may be going through this one.
                    self.sentinels = [sentinel, *(one for one in asked if one is not sentinel)]
                    return str(state["ip"]), int(state["port"])
            at = sentinel.connection_pool.connection_kwargs
            why.append(f"{at['host']}:{at['port']}: {reason}")
        raise MasterNotFoundError(f"no Sentinel names a master {service_name}: {'; '.join(why)}")
