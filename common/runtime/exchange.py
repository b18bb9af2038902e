"""One bound for a whole HTTP exchange.

A socket's time-out bounds each wait, not their sum: a server, or a proxy, that sends a byte now and
then would keep a request for ever, and with it whatever waits for its response. Here a watcher
shuts the connection down when the exchange as a whole takes too long; whoever waits on it then
finds it closed.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from common.runtime.timer import Timed, Timer

_TIMER = Timer("exchange")


class Exchange:
    """A request and its response; ``expired`` when they took too long."""

    def __init__(self) -> None:
        self.expired = False
        self._over = False
        self._lock = threading.Lock()
        # A descriptor of our own: the connection's may be closed, or wrapped in TLS, meanwhile.
        self._socket: socket.socket | None = None
        self._timed: Timed | None = None

    def allow(self, seconds: float) -> None:
        """It may take so long from now on, whatever it was allowed before.

        Cheap enough for each piece of a body.
        """
        deadline = time.monotonic() + seconds
        if self._timed is None:
            self._timed = _TIMER.at(deadline, self.expire)
        else:
            self._timed.move(deadline)

    def watch(self, connected: socket.socket) -> None:
        """The exchange goes over this socket from now on."""
        with self._lock:
            self._let_go()
            self._socket = socket.socket(fileno=os.dup(connected.fileno()))
            if self.expired:
                self._shut_down()

    def expire(self) -> None:
        """Time is up; nothing happens if the exchange is over."""
        with self._lock:
            if not self._over:
                self.expired = True
                self._shut_down()

    def end(self) -> None:
        """The exchange is over: its connection may serve another."""
        with self._lock:
            self._over = True
            self._let_go()
        if self._timed is not None:
            self._timed.cancel()

    def _shut_down(self) -> None:
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is closed already

    def _let_go(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_running = threading.local()


@contextmanager
def at_most(seconds: float) -> Iterator[Exchange]:
    """What is exchanged inside, by this thread over watched connections, ends by then."""
    exchange = Exchange()
    exchange.allow(seconds)
    outer, _running.exchange = getattr(_running, "exchange", None), exchange
    try:
        yield exchange
    finally:
        _running.exchange = outer
        exchange.end()


def watched(pools: urllib3.PoolManager) -> None:
    """Make the connections of ``pools``, which has none yet, known to :func:`at_most`."""
    pools.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


def watch(connected: socket.socket | None) -> None:
    """What this thread exchanges now goes over this socket, if it is connected."""
    exchange: Exchange | None = getattr(_running, "exchange", None)
    if exchange is not None and connected is not None:
        exchange.watch(connected)


class WatchedConnection(HTTPConnection):
    """A connection that :func:`at_most` can shut down from its first byte on."""

    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        watch(connected)
        return connected

    def request(self, *args: Any, **options: Any) -> None:
        """Send a request, over the socket of an exchange before if there was one."""
        watch(self.sock)
        super().request(*args, **options)


class WatchedTlsConnection(WatchedConnection, HTTPSConnection):
    """Both of its bases: a connection over TLS that is watched."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = WatchedConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = WatchedTlsConnection
