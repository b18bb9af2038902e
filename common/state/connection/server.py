"""What kind of Redis the pipeline has: one that it cannot work with is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis import Redis

OLDEST_VERSION = (7, 0)
SAFE_POLICY = "noeviction"


def refusal(redis: Redis) -> str | None:
    """Why this server cannot be used, as one sentence without its subject, or None.

    Raises :class:`redis.exceptions.RedisError` when it does not respond, or forbids ``INFO``.
    """
    info: Any = redis.info("server")
    version, mode = str(info.get("redis_version", "")), info.get("redis_mode")
    if mode == "cluster":
        return (
            "is Redis in Cluster mode, which is not supported, as scripts move data between keys "
            "that a Cluster keeps on several nodes: use one master, or Sentinels"
        )
    if mode == "sentinel":
        return "is a Sentinel: name Sentinels as redis+sentinel://HOST1,HOST2/NAME/DB"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_VERSION:
        wanted = ".".join(map(str, OLDEST_VERSION))
        return f"is Redis {version}, which is too old: {wanted} or newer is needed"
    return None


def eviction(redis: Redis) -> str | None:
    """What Redis may throw away at its memory's limit, or None where it throws nothing away.

    Raises :class:`redis.exceptions.RedisError` as :func:`refusal` does.
    """
    info: Any = redis.info("memory")
    return eviction_by(info)


def eviction_by(info: Mapping[str, Any]) -> str | None:
    """The same from what ``INFO memory`` said."""
    policy = info.get("maxmemory_policy", SAFE_POLICY)
    if policy == SAFE_POLICY or not int(info.get("maxmemory", 0)):
        return None
    return f"maxmemory-policy is {policy}: Redis may throw data away; it must be {SAFE_POLICY}"
