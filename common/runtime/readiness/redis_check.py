"""The look at Redis that every stage takes when it starts."""

from __future__ import annotations

from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from common.errors import ConfigError
from common.runtime.service import Service
from common.state.connection.server import eviction, refusal


def check_redis(service: Service, redis: Redis) -> None:
    """Report what is wrong with the server; one that does not respond is left to the loop.

    Raises :class:`ConfigError` for one that the pipeline cannot work with.
    """
    try:
        why = refusal(redis)
        unsafe = eviction(redis)
    except NoPermissionError as error:
        service.telemetry.emit("redis_unchecked", error=str(error))
        return
    except RedisError:
        return
    if why is not None:
        raise ConfigError(f"pipeline.redis_url: the server {why}")
    if unsafe is not None:
        service.telemetry.emit("redis_unsafe", reason=unsafe)
