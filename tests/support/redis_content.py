"""What keys of Redis hold, in a form that can be compared: DUMP is not the same twice."""

from __future__ import annotations

from typing import Any

from redis import Redis


def content_of(redis: Redis, pattern: str) -> dict[bytes, Any]:
    """Key → type, content (of streams also groups and pending entries), ms at which it expires."""
    names: list[Any] = list(redis.scan_iter(match=pattern))
    return {
        name: (kind := redis.type(name), _read(redis, name, kind), _expires_ms(redis, name))
        for name in names
    }


def _expires_ms(redis: Redis, name: bytes) -> Any:
    return redis.execute_command("PEXPIRETIME", name)  # type: ignore[no-untyped-call]


def _read(redis: Any, name: bytes, kind: Any) -> Any:
    match kind:
        case b"string":
            return redis.get(name)
        case b"hash":
            return redis.hgetall(name)
        case b"set":
            return redis.smembers(name)
        case b"list":
            return redis.lrange(name, 0, -1)
        case b"zset":
            return redis.zrange(name, 0, -1, withscores=True)
        case b"stream":
            groups = redis.xinfo_groups(name)
            pending = [
                [
                    (one["message_id"], one["consumer"], one["times_delivered"])
                    for one in redis.xpending_range(name, group["name"], "-", "+", 1_000_000)
                ]
                for group in groups
            ]
            return redis.xrange(name), groups, pending
    raise AssertionError(f"{name!r} is a {kind!r}")
