"""Which source and sink the pipeline of a namespace connects, kept in Redis.

Two pipelines with other sources or sinks on one namespace would take each other's work, and mix
their samples in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis import Redis

from common.state.fields import text_of
from common.state.keys import Keys

if TYPE_CHECKING:
    from common.config import Settings


@dataclass(frozen=True, slots=True)
class Identity:
    """The two ends of a pipeline, as they may be shown: addresses, no secrets."""

    source: str
    sink: str


def identity_of(settings: Settings) -> Identity:
    """What the settings connect."""
    influxdb = settings.load.influxdb
    sink = f"{influxdb.url} org {influxdb.org} bucket {settings.load.tiers['hot'].bucket}"
    source, shard = settings.extract.prometheus_url, settings.pipeline.shard
    if sources := settings.extract.sources:
        source = ", ".join(sorted(f"{one.name} {one.url}" for one in sources))
    return Identity(f"{source} shard {shard}" if shard else source, sink)


class IdentityRecord:
    """The identity that a namespace belongs to. Every method may raise RedisError."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    def read(self) -> Identity | None:
        """What is recorded; None before the first pipeline started."""
        found: Any = self._redis.hmget(self._keys.identity, ["source", "sink"])
        source, sink = (None if text is None else text_of(text) for text in found)
        return None if source is None or sink is None else Identity(source, sink)

    def claim(self, ours: Identity) -> Identity:
        """The identity that the namespace belongs to: ours, if it belonged to none."""
        with self._redis.pipeline(transaction=True) as commands:
            commands.hsetnx(self._keys.identity, "source", ours.source)
            commands.hsetnx(self._keys.identity, "sink", ours.sink)
            commands.hmget(self._keys.identity, ["source", "sink"])
            *_, found = commands.execute()
        source, sink = found
        return Identity(text_of(source), text_of(sink))

    def accept(self, ours: Identity) -> None:
        """The namespace belongs to ours from now on."""
        items = ["source", ours.source, "sink", ours.sink]
        self._redis.hset(self._keys.identity, items=items)


def conflict(ours: Identity, recorded: Identity, namespace: str) -> str | None:
    """Why a pipeline must not work on the namespace, or None."""
    ends = (("reads", ours.source, recorded.source), ("writes to", ours.sink, recorded.sink))
    differences = [
        f"the one that it belongs to {verb} {theirs}, this one {mine}"
        for verb, mine, theirs in ends
        if _place(mine) != _place(theirs)
    ]
    if not differences:
        return None
    return (
        f"the Redis namespace {namespace!r} belongs to another pipeline: {'; '.join(differences)}. "
        "Set pipeline.redis_namespace, or, if the same pipeline has moved, run "
        "`etlctl identity --accept`"
    )


def _place(end: str) -> str:
    """An end without its schemes: who begins to speak TLS has not moved."""
    return end.replace("https://", "").replace("http://", "")
