"""What of a feed was extracted how: under which configuration, and from which replica.

The planning script notes a configuration when its process takes a feed over. Texts are kept once,
however often one comes back.

Two replicas hold samples of the same targets at times of their own, so what was loaded can be
compared only with the one that it was read from, and is read again from that alone. Stretches are
few: the record stays small.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.client import Pipeline

from common.state.feeds import Feed, Range, Window, ranges_of
from common.state.fields import text_of
from common.state.keys import Keys

# ``(start_ms, end_ms]`` and the replica's URL.
Stretch = tuple[int, int, str]
# The oldest go first.
MOST_STRETCHES = 10_000


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


class ReplicasRead:
    """The record in Redis. Every method may raise RedisError."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    def of(self, feed: str) -> list[Stretch]:
        """What is known, in order of time."""
        return _stretches(self._redis.get(self._keys.replicas(feed)))

    def note(self, feed: Feed, window: Window, replica: str) -> None:
        """A window is about to be committed as it was read from this replica.

        Nothing is noted once it is another worker's: that one has noted what it commits, or will.
        """
        key, windows = self._keys.replicas(feed.name), self._keys.windows(feed.state_name)

        def change(pipe: Pipeline) -> None:
            is_ours = _token_of(pipe.hget(windows, window.id)) == window.token
            known = _stretches(pipe.get(key))
            changed = _with(known, (window.start_ms, window.end_ms, replica))
            pipe.multi()
            if is_ours and changed != known:
                pipe.set(key, json.dumps(changed[-MOST_STRETCHES:]))

        self._redis.transaction(change, key, windows)


def _token_of(record: Any) -> str | None:
    """Of whom an open window is."""
    try:
        return str(json.loads(record)["t"])
    except (ValueError, TypeError, LookupError):
        return None  # it is closed, or somebody else wrote there


def _stretches(text: Any) -> list[Stretch]:
    try:
        return [(int(start), int(end), str(replica)) for start, end, replica in json.loads(text)]
    except (ValueError, TypeError):
        return []  # nothing, or somebody else's


def _with(known: list[Stretch], new: Stretch) -> list[Stretch]:
    """The stretches, of which the new one replaces what it covers."""
    start_ms, end_ms, _ = new
    parts = [new]
    for start, end, other in known:
        parts += [(start, min(end, start_ms), other), (max(start, end_ms), end, other)]
    found: list[Stretch] = []
    for start, end, other in sorted(part for part in parts if part[0] < part[1]):
        if found and found[-1][1] == start and found[-1][2] == other:
            found[-1] = (found[-1][0], end, other)
        else:
            found.append((start, end, other))
    return found
