"""Samples that were pushed, beside the windows of a feed: nothing waits for them.

Their ledger accounts are a feed's of their own, ``query@push``; their entries are of its tier.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from common.state.feeds import Feed
from common.state.fields import count_of, text_of
from common.state.keys import RAW, Keys, feed_of
from common.state.scripts import Scripts
from common.state.verdict import PUSHED

# In the place of a tier, in the name of their accounts.
ACCOUNT = "push"


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was pushed of a feed: samples with their payload, and samples dropped by reason."""

    feed: Feed
    payload: bytes = b""
    samples: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


class PushedSamples:
    """Commits pushed samples.

    Every method raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._scripts = Scripts(redis)

    def heads_ms(self, feeds: Sequence[Feed]) -> list[int | None]:
        """Up to where each feed is planned; ``None``: not at all, or as another configuration."""
        if not feeds:
            return []
        with self._redis.pipeline(transaction=False) as pipe:
            for feed in feeds:
                pipe.hmget(self._keys.feed(feed.name), ["fingerprint", "head_ms"])
            found: Any = pipe.execute()
        return [
            count_of(head_ms) if text_of(fingerprint) == feed.fingerprint else None
            for feed, (fingerprint, head_ms) in zip(feeds, found, strict=True)
        ]

    def commit(self, pushed: Sequence[Pushed]) -> str:
        """Hand samples to the raw stream and count them, all or nothing.

        ``committed``; ``refused`` when a feed has another configuration by now; ``wrong_type`` when
        a key holds something else.
        """
        keys = self._keys
        of_feeds = [
            key
            for one in pushed
            for key in (keys.feed(one.feed.name), keys.payload(uuid.uuid4().hex))
        ]
        reply: bytes = self._scripts.call(
            "push",
            [keys.stream(RAW), keys.in_flight(RAW), keys.ledger, *of_feeds],
            [one.payload for one in pushed],
            window=PUSHED,
            feeds=[
                {
                    "feed": feed_of(one.feed.query, ACCOUNT),
                    "query": one.feed.query,
                    "tier": one.feed.tier,
                    "kind": one.feed.kind,
                    "fingerprint": one.feed.fingerprint,
                    "samples": one.samples,
                    "bytes": len(one.payload),
                    "dropped": dict(one.dropped),
                }
                for one in pushed
            ],
        )
        return reply.decode()
