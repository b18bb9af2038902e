"""Whether our user of Redis may call what the services call: each command is tried, none is run.

Between ``MULTI`` and ``DISCARD`` Redis checks the rights of a command when it is queued, and throws
it away. Scripts may call what their user may, so their commands are tried like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from common.state.keys import Keys

# By command what follows the key, as many words as Redis asks for: what scripts and services call.
WITH_KEY_FIRST: Mapping[str, Sequence[str]] = {
    "DEL": (),
    "EXISTS": (),
    "GET": (),
    "HDEL": ("f",),
    "HEXISTS": ("f",),
    "HGET": ("f",),
    "HGETALL": (),
    "HINCRBY": ("f", "0"),
    "HLEN": (),
    "HMGET": ("f",),
    "HRANDFIELD": (),
    "HSCAN": ("0",),
    "HSET": ("f", "v"),
    "HSETNX": ("f", "v"),
    "HVALS": (),
    "INCR": (),
    "LINDEX": ("0",),
    "LLEN": (),
    "LRANGE": ("0", "0"),
    "LSET": ("0", "v"),
    "PERSIST": (),
    "PEXPIRE": ("0",),
    "PTTL": (),
    "RPUSH": ("v",),
    "SADD": ("v",),
    "SCARD": (),
    "SET": ("v",),
    "SISMEMBER": ("m",),
    "SMEMBERS": (),
    "SREM": ("v",),
    "TYPE": (),
    "UNLINK": (),
    "XACK": ("g", "0-1"),
    "XADD": ("*", "f", "v"),
    "XCLAIM": ("g", "c", "0", "0-1"),
    "XDEL": ("0-1",),
    "XLEN": (),
    "XPENDING": ("g",),
    "XRANGE": ("-", "+"),
    "XREVRANGE": ("+", "-"),
    "ZADD": ("0", "m"),
    "ZRANGE": ("0", "0"),
    "ZRANGEBYSCORE": ("0", "0"),
    "ZREM": ("m",),
    "ZREMRANGEBYSCORE": ("0", "0"),
    "ZSCORE": ("m",),
}
# The key is not their first word, or they have none.
OTHERS = {
    "XGROUP": ("XGROUP", "CREATE", "{key}", "g", "0", "MKSTREAM"),
    "XINFO": ("XINFO", "STREAM", "{key}"),
    "XREADGROUP": ("XREADGROUP", "GROUP", "g", "c", "STREAMS", "{key}", ">"),
    "EVAL": ("EVAL", "return 1", "1", "{key}"),
    "EVALSHA": ("EVALSHA", "0" * 40, "1", "{key}"),
    "EVAL_RO": ("EVAL_RO", "return 1", "1", "{key}"),
    "EVALSHA_RO": ("EVALSHA_RO", "0" * 40, "1", "{key}"),
    "SCRIPT LOAD": ("SCRIPT", "LOAD", "return 1"),
    "TIME": ("TIME",),
}
# What only the extractor needs: RQ's keys, and rewriting the append-only file after a crash.
_OF_EXTRACTOR = {
    "SET rq:*": ("SET", "rq:doctor", "v"),
    "LPUSH rq:*": ("LPUSH", "rq:doctor", "v"),
    "INFO": ("INFO", "memory"),
    "BGREWRITEAOF": ("BGREWRITEAOF",),
}


@dataclass(frozen=True, slots=True)
class Refused:
    """Commands by name: ``needed`` by every stage, ``of_some`` by the extractor."""

    needed: tuple[str, ...]
    of_some: tuple[str, ...]


def refused_calls(redis: Redis, keys: Keys) -> Refused:
    """What our user may not call on keys of the namespace. Nothing is run.

    Raises :class:`redis.exceptions.RedisError` where transactions are refused altogether.
    """
    key = f"{keys.namespace}:doctor"
    needed = {name: (name, key, *words) for name, words in WITH_KEY_FIRST.items()}
    needed |= {
        name: tuple(word.format(key=key) for word in words) for name, words in OTHERS.items()
    }
    with _transaction(redis) as connection:
        return Refused(
            tuple(name for name, words in needed.items() if _is_refused(connection, words)),
            tuple(name for name, words in _OF_EXTRACTOR.items() if _is_refused(connection, words)),
        )


def _is_refused(connection: Any, words: Sequence[str]) -> bool:
    connection.send_command(*words)
    try:
        connection.read_response()
    except NoPermissionError:
        return True
    # Such as a command that this server forbids in a transaction: about rights it says nothing.
    except ResponseError:
        return False
    return False


@contextmanager
def _transaction(redis: Redis) -> Iterator[Any]:
    connection: Any = redis.connection_pool.get_connection()
    try:
        connection.send_command("MULTI")
        connection.read_response()
        yield connection
        connection.send_command("DISCARD")
        connection.read_response()
    except BaseException:
        connection.disconnect()  # what was queued goes with it
        raise
    finally:
        redis.connection_pool.release(connection)
