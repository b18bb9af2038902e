"""Connections to Redis, set up the one way that the pipeline relies on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError
from redis.retry import Retry
from redis.sentinel import Sentinel

from common.redis_url import SentinelAddress, sentinels_of

if TYPE_CHECKING:  # etl-metrics has no memory to spare for what the settings are made with
    from common.config import PipelineSettings

# XREADGROUP must block for less than this, or a quiet stream looks like a lost server.
SOCKET_TIMEOUT_SECONDS = 5.0
# As long as that an idle stage takes to notice that it should stop.
BLOCK_SECONDS = 2.0


def connect(
    url: str,
    password: str | None = None,
    *,
    ca_file: str | None = None,
    socket_timeout_seconds: float = SOCKET_TIMEOUT_SECONDS,
) -> Redis:
    """A client that returns bytes and never repeats a command by itself; nothing is sent yet.

    ``ca_file`` holds, beside the system's, authorities that may vouch for a server behind
    ``rediss://``, whose certificate must be for the host in ``url``.

    Whether a script that got no reply ran is for the caller to find out: a blind second attempt
    would report a settled entry as refused.
    """
    options: dict[str, Any] = {
        "decode_responses": False,
        "protocol": 2,  # one shape of replies, on every server version
        "socket_timeout": socket_timeout_seconds,
        "socket_connect_timeout": socket_timeout_seconds,
        "health_check_interval": 30,
        "retry": Retry(NoBackoff(), 0),
    }
    if ca_file is not None:
        options |= {"ssl_ca_certs": ca_file, "ssl_check_hostname": True}
    address = sentinels_of(url)
    if address is not None:
        return _master_of(address, password, options)
    pool = ConnectionPool.from_url(url, password=password, **options)
    pool.connection_class = _LEAVING[pool.connection_class]
    return Redis.from_pool(pool)


def _master_of(address: SentinelAddress, password: str | None, options: dict[str, Any]) -> Redis:
    """A client of the master that Sentinels name; they are asked again when it is none any more.

    The Sentinels themselves are asked without a user or a password.
    """
    if address.tls:
        options["ssl"] = True
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        address.sentinels,
        sentinel_kwargs={name: value for name, value in options.items() if name != "protocol"},
    )
    client: Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        address.service,
        db=address.db,
        username=address.username,
        password=password,
        **options,
    )
    return client


class _LeavesReplicas:
    """A connection that ends when its server has become a replica.

    After a failover the old master may live on as a replica and keep its connections open; the
    address in the URL may lead to the new master by now, so the next command must connect anew.
    """

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        except ReadOnlyError as error:
            self.disconnect()  # type: ignore[attr-defined]
            raise RedisConnectionError(f"the server is a read-only replica: {error}") from None


class _Plain(_LeavesReplicas, Connection):
    pass


class _Tls(_LeavesReplicas, SSLConnection):
    pass


class _Socket(_LeavesReplicas, UnixDomainSocketConnection):
    pass


_LEAVING: dict[Any, Any] = {
    Connection: _Plain,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Socket,
}


def connect_as_set(pipeline: PipelineSettings) -> Redis:
    """A client of the Redis that the settings name."""
    password = pipeline.redis_password.get_secret_value() or None
    return connect(pipeline.redis_url, password, ca_file=pipeline.redis_ca_file)
