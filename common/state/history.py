"""Which configurations of a feed were in force, and from when.

The planning script notes a configuration when its process takes a feed over. Texts are kept once,
however often one comes back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from common.state.feeds import Range, ranges_of
from common.state.fields import text_of
from common.state.keys import Keys


@dataclass(frozen=True, slots=True)
class Change:
    """A configuration came into force.

    It was applied to all after ``head_ms``, and to what of the time before was still to be
    extracted (``to_do``). What was ``unsettled`` then had been extracted under the one before.
    That was ``at_ms`` by Redis' clock; 0: an older version noted it.
    """

    configuration: str
    head_ms: int
    to_do: Sequence[Range] = ()
    unsettled: Sequence[Range] = ()
    at_ms: int = 0


def id_of(configuration: str) -> str:
    """A short name of a configuration."""
    return hashlib.blake2s(configuration.encode(), digest_size=8).hexdigest()


def noted(redis: Redis, keys: Keys) -> dict[str, bytes]:
    """By feed, when its configuration changed as Redis holds it: the same while there is no other.

    Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """
    members: Any = redis.smembers(keys.feeds)
    feeds = sorted(map(text_of, members))
    with redis.pipeline(transaction=False) as pipe:
        for feed in feeds:
            pipe.hget(keys.history(feed), "changes")
        found: list[Any] = pipe.execute()
    return {feed: changes for feed, changes in zip(feeds, found, strict=True) if changes}


def changes_of(redis: Redis, keys: Keys, feed: str) -> list[Change]:
    """Every change that is known of a feed, oldest first; empty where somebody else wrote there.

    Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """
    found: Any = redis.hgetall(keys.history(feed))
    texts = {text_of(name): text_of(value) for name, value in found.items()}
    try:
        return [
            Change(
                texts[one["id"]],
                int(one["head"]),
                ranges_of(one["to_do"]),
                ranges_of(one["unsettled"]),
                int(one.get("at", 0)),
            )
            for one in json.loads(texts.get("changes", "[]"))
        ]
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return []
