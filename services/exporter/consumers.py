"""The consumer groups of the streams: what is pending, and who is alive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from common.state.keys import GROUP, Keys
from common.state.stream import RELEASED


@dataclass(frozen=True, slots=True)
class GroupState:
    """A stream's group: entries pending, those of them that nobody holds, and live consumers."""

    pending: int = 0
    given_back: int = 0
    alive: int = 0


def group_state(redis: Redis, keys: Keys, stream: str, silent_seconds: float) -> GroupState:
    """A stream that nobody has read yet has neither consumers nor pending entries.

    Raises :class:`redis.exceptions.RedisError` when the server cannot be asked.
    """
    try:
        consumers: Any = redis.xinfo_consumers(keys.stream(stream), GROUP)
    except ResponseError as error:
        if "no such key" in str(error) or "NOGROUP" in str(error):
            return GroupState()
        raise
    workers = [one for one in consumers if one["name"] != RELEASED.encode()]
    pending = sum(int(one["pending"]) for one in workers)
    given_back = sum(int(one["pending"]) for one in consumers) - pending
    alive = sum(int(one["idle"]) <= silent_seconds * 1000 for one in workers)
    return GroupState(pending + given_back, given_back, alive)
