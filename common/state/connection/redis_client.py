"""Connections to Redis, set up the one way that the pipeline relies on."""

from __future__ import annotations

import contextlib
import socket
import threading
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
from redis.exceptions import ReadOnlyError, ResponseError
from redis.retry import Retry
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from common.redis_url import SentinelAddress, sentinels_of
from common.state.connection.sentinels import SentinelLogin, Sentinels

if TYPE_CHECKING:  # etl-metrics has no memory to spare for what the settings are made with
    from common.config import PipelineSettings

# XREADGROUP must block for less than this, and Redis may notice up to a second late that it has
# (``hz 1``), or a quiet stream looks like a lost server.
SOCKET_TIMEOUT_SECONDS = 5.0
BLOCK_SECONDS = 3.5
# Commands that wait for something.
_WAIT = frozenset({"XREADGROUP", "BLPOP"})
# What a server says that is a master no more, or whose replicas may have a new one by now.
_LEFT_BEHIND = ("NOREPLICAS", "UNBLOCKED force unblock", "MASTERDOWN")


def connect(
    url: str,
    password: str | None = None,
    *,
    ca_file: str | None = None,
    sentinel_login: SentinelLogin | None = None,
    socket_timeout_seconds: float = SOCKET_TIMEOUT_SECONDS,
) -> Redis:
    """A client that returns bytes and never repeats a command by itself; nothing is sent yet.

    ``ca_file`` holds, beside the system's, authorities that may vouch for a server behind
    ``rediss://``, whose certificate must be for the host in ``url``. ``password`` is the server's;
    Sentinels in ``url`` get none but ``sentinel_login``.

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
        login = sentinel_login or SentinelLogin()
        return _master_of(address, login, {"password": password, **options}, options)
    pool = ConnectionPool.from_url(url, password=password, **options)
    pool.connection_class = _LEAVING[pool.connection_class]
    return _Client.from_pool(pool)


def _master_of(
    address: SentinelAddress, login: SentinelLogin, master: dict[str, Any], asked: dict[str, Any]
) -> Redis:
    """A client of the master that Sentinels name; they are asked again for each connection."""
    if address.tls:
        asked = {**asked, "ssl": True}
    client: Redis = Sentinels(address, login, asked).master_for(  # type: ignore[no-untyped-call]
        address.service,
        db=address.db,
        username=address.username,
        redis_class=_Client,
        connection_class=_TlsMaster if address.tls else _PlainMaster,
        **master,
    )
    return client


class _Client(Redis):
    """Its commands go straight to a connection.

    Nothing is retried here, and nobody collects what redis-py measures: a third of a command's
    cost.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waking = threading.Lock()
        self._waiting = set[Any]()
        self.is_awake = False

    def _execute_command(self, *args: Any, **options: Any) -> Any:
        pool = self.connection_pool
        connection = self.connection or pool.get_connection()
        waits = args[0] in _WAIT
        try:
            if waits:
                self._begin_to_wait(connection)
            connection.send_command(*args, **options)  # type: ignore[no-untyped-call]
            return self.parse_response(connection, args[0], **options)  # type: ignore[no-untyped-call]
        finally:
            if waits:
                with self._waking:
                    self._waiting.discard(connection)
            if not self.connection:
                pool.release(connection)

    def _begin_to_wait(self, connection: Any) -> None:
        with self._waking:
            if self.is_awake:
                raise RedisConnectionError("nothing is waited for any more")
            self._waiting.add(connection)

    def wake(self) -> None:
        """See :func:`wake`."""
        with self._waking:
            self.is_awake = True
            for connection in self._waiting:
                connected = connection._sock
                if connected is not None:
                    with contextlib.suppress(OSError):
                        # The socket's own: TLS would first want to say goodbye.
                        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def wake(redis: Redis) -> None:
    """End the commands that wait for something, and have no other begin: this process stops.

    They raise :class:`redis.exceptions.ConnectionError`; what they were just given is lost to them.
    May be called by any thread; all other commands go on.
    """
    if isinstance(redis, _Client):
        redis.wake()


def is_awake(redis: Redis) -> bool:
    """Whether that was done."""
    return isinstance(redis, _Client) and redis.is_awake


class _LeavesReplicas:
    """A connection that ends when its server has become a replica, or has lost its replicas.

    After a failover the old master may live on as a replica, or cut off, and keep its connections
    open; the address in the URL may lead to the new master by now, and Sentinels know it, so the
    next command must connect anew.
    """

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        except ReadOnlyError as error:
            self.disconnect()  # type: ignore[attr-defined]
            raise RedisConnectionError(f"the server is a read-only replica: {error}") from None
        except ResponseError as error:
            if not str(error).startswith(_LEFT_BEHIND):
                raise
            self.disconnect()  # type: ignore[attr-defined]
            raise RedisConnectionError(f"the server may be the master no more: {error}") from None


class _Plain(_LeavesReplicas, Connection):
    pass


class _Tls(_LeavesReplicas, SSLConnection):
    pass


class _Socket(_LeavesReplicas, UnixDomainSocketConnection):
    pass


class _EndsWithoutReply:
    """A connection to a master that ends when a reply did not come whole, as others do.

    redis-py's own leaves that to its retries, which :class:`_Client` goes without: the reply that
    comes late would pass for that of the next command, and so would each one after it.
    """

    def read_response(
        self, *args: Any, disconnect_on_error: bool | None = True, **kwargs: Any
    ) -> Any:
        return super().read_response(  # type: ignore[misc]
            *args, disconnect_on_error=disconnect_on_error, **kwargs
        )


class _PlainMaster(_EndsWithoutReply, SentinelManagedConnection, _Plain):
    pass


class _TlsMaster(_EndsWithoutReply, SentinelManagedSSLConnection, _Tls):
    pass


_LEAVING: dict[Any, Any] = {
    Connection: _Plain,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Socket,
}


def connect_as_set(pipeline: PipelineSettings) -> Redis:
    """A client of the Redis that the settings name."""
    password = pipeline.redis_password.get_secret_value() or None
    login = SentinelLogin(
        pipeline.redis_sentinel_username,
        pipeline.redis_sentinel_password.get_secret_value() or None,
    )
    return connect(
        pipeline.redis_url, password, ca_file=pipeline.redis_ca_file, sentinel_login=login
    )
