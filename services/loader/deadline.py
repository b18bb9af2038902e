"""One bound for a whole HTTP exchange.

A socket's time-out bounds each wait, not their sum: a server, or a proxy, that sends a byte now and
then would keep a post for ever, and with it the entries, whose next workers it would keep as well.
Here a timer shuts the connection down when the exchange as a whole takes too long; whoever waits on
it then finds it closed.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse

from services.loader.bounded_response import BoundedResponse


class Exchange:
    """A request and its response; ``expired`` when they took too long."""

    def __init__(self) -> None:
        self.expired = False
        self._over = False
        self._lock = threading.Lock()
        # A descriptor of our own: the connection's may be closed, or wrapped in TLS, meanwhile.
        self._socket: socket.socket | None = None

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
    """What is exchanged inside, by this thread over pools of :func:`bounded`, ends by then."""
    exchange = Exchange()
    timer = threading.Timer(seconds, exchange.expire)
    timer.daemon = True
    timer.start()
    _running.exchange = exchange
    try:
        yield exchange
    finally:
        _running.exchange = None
        timer.cancel()
        exchange.end()


def bounded(pools: urllib3.PoolManager) -> None:
    """Make the connections of ``pools``, which has none yet, known to :func:`at_most`.

    Their responses are of a bounded size, too.
    """
    pools.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


def _watch(connected: socket.socket | None) -> None:
    exchange: Exchange | None = getattr(_running, "exchange", None)
    if exchange is not None and connected is not None:
        exchange.watch(connected)


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        _watch(connected)
        return connected

    def request(self, *args: Any, **options: Any) -> None:
        _watch(self.sock)  # of an exchange before; None if there was none
        super().request(*args, **options)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as in urllib3
        response = super().getresponse()
        response.__class__ = BoundedResponse
        return response


class _TlsConnection(_Connection, HTTPSConnection):
    """Both of its bases: a connection over TLS that is watched."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
