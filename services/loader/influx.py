"""The client of the sink: bytes in, outcome out.

Bodies are posted as they are. Nothing is tried again here: a retry is a verdict, and the verdict's
business is who waits and how long. influxdb-client would add nothing to that but its import, which
takes a seventh of the loader's memory.
"""

from __future__ import annotations

import http.client
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import urllib3

from common.config.load import InfluxSettings
from common.errors import SinkError
from common.runtime.exchange import at_most
from common.sink.http_session import SinkSession
from common.sink.influx3 import PING_PATH, ask_retention_seconds, is_3
from services.loader import influx3
from services.loader.responses import Kind, Outcome, classify
from services.loader.retention_cache import RetentionCache

WRITE_PATH = "/api/v2/write"


class InfluxSink:
    """InfluxDB 2, or 1.x behind the same write path; InfluxDB 3 on its own.

    Safe to use from ``connections`` threads at a time; each has a connection of its own, kept open.
    Raises :class:`SinkError` when no client can be built from the settings.
    """

    def __init__(
        self,
        settings: InfluxSettings,
        *,
        connections: int,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            self._session = SinkSession(settings, connections=connections)
        except (ValueError, OSError) as error:
            raise SinkError(f"no client for load.influxdb can be built: {error}") from None
        # It speaks of connections; what matters of it is in Outcome.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        self._org = settings.org
        connect_seconds, read_seconds = self._session.timeout_seconds
        self._at_most_seconds = connect_seconds + read_seconds  # a lease outlives it
        self._wall_clock = wall_clock
        self._is_3: bool | None = None  # None: not known yet
        self._retention = RetentionCache(self._ask_retention)

    def write(self, bucket: str, body: bytes) -> Outcome:
        """Post ``body``, one gzip member of lines (ms), as it is; never raises for a response."""
        return self._post(bucket, body, content_encoding="gzip")

    def probe(self, bucket: str) -> Outcome:
        """Post nothing: token, organisation and bucket are checked before the body is.

        2.7 and 1.x respond with 204 to an empty body. 2.0 with 400 "writing requires points" and 3
        with 400 "incoming write was empty" are as good. Each is :attr:`Kind.WRITTEN`.
        """
        self._session.refresh(again=True)
        self._is_3 = None  # another server may be there by now
        outcome = self._post(bucket, b"")
        if outcome.kind is Kind.POINTS:
            return Outcome(Kind.WRITTEN, outcome.message, Kind.WRITTEN.value, outcome.status)
        return outcome

    def silent_retention_seconds(self, bucket: str) -> float | None:
        """How long points are kept, where the sink takes older ones and forgets them: InfluxDB 3.

        Infinity if it keeps them for ever, or nothing is known of it; None for a sink that refuses
        what is too old.
        """
        if self._is_3 is None:
            self._recognise()  # if nobody answers, a post will tell
        return self._retention.seconds(bucket) if self._is_3 else None

    @property
    def retention_unknown(self) -> str | None:
        """Why nothing is known of the retention of a sink that forgets without a word, if so."""
        return self._retention.unknown if self._is_3 else None

    def close(self) -> None:
        """Close the connections; harmless when repeated."""
        self._session.close()

    def _post(self, bucket: str, body: bytes, **headers: Any) -> Outcome:
        is_3 = self._is_3
        if is_3 is None:
            recognised = self._recognise()
            if isinstance(recognised, Outcome):
                return recognised
            is_3 = recognised
        with at_most(self._at_most_seconds) as exchange:
            exchange_ = self._exchange_3 if is_3 else self._exchange
            outcome = exchange_(bucket, body, **headers)
        return self._too_slow() if exchange.expired else outcome

    def _too_slow(self) -> Outcome:
        message = f"no whole response within {self._at_most_seconds:g} s"
        return Outcome(Kind.FAILED, message, "timeout")

    def _exchange(self, bucket: str, body: bytes, *, content_encoding: str = "identity") -> Outcome:
        query = (("org", self._org), ("bucket", bucket), ("precision", "ms"))
        try:
            response = self._session.request(
                "POST", WRITE_PATH, query, body, {"Content-Encoding": content_encoding}
            )
        except _NO_RESPONSE as error:
            return _unreached(error)
        return self._understand(response.status, response.headers, response.data)

    def _understand(self, status: int, headers: Any, body: bytes | None) -> Outcome:
        return classify(status, headers, body or b"", now_seconds=self._wall_clock())

    # -- InfluxDB 3 -----------------------------------------------------------------------

    def _exchange_3(
        self, bucket: str, body: bytes, *, content_encoding: str = "identity"
    ) -> Outcome:
        query = influx3.write_query(bucket)
        try:
            response = self._session.request(
                "POST", influx3.WRITE_PATH, query, body, {"Content-Encoding": content_encoding}
            )
        except _NO_RESPONSE as error:
            return _unreached(error)
        now_seconds = self._wall_clock()
        return influx3.classify_3(
            response.status, response.headers, response.data, now_seconds=now_seconds
        )

    def _recognise(self) -> bool | Outcome | None:
        """Whether InfluxDB 3 is there; an outcome where no answer says so.

        It wants a token for a ping, and a proxy may let no ping through: then (None) it is written
        to as InfluxDB 2 is, and 3 refuses that for the same token.
        """
        with at_most(self._at_most_seconds) as exchange:
            try:
                response = self._session.request("GET", PING_PATH)
            except _NO_RESPONSE as error:
                if not exchange.expired:
                    return _unreached(error)
        if exchange.expired:
            return self._too_slow()
        if response.status in _NOT_FOR_US:
            return None
        if response.status in _LATER or response.status >= 500:
            return self._understand(response.status, response.headers, response.data)
        self._is_3 = found = is_3(response.data)
        return found

    def _ask_retention(self) -> dict[str, float] | str:
        with at_most(self._at_most_seconds):
            try:
                return ask_retention_seconds(self._session)
            except _NO_RESPONSE as error:
                return _unreached(error).message


_NO_RESPONSE = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
_NOT_FOR_US = (401, 403)
_LATER = (408, 429)
_NO_CONNECTION = (urllib3.exceptions.NewConnectionError, ConnectionRefusedError, socket.gaierror)
_TIMEOUT = (urllib3.exceptions.TimeoutError, TimeoutError)


def _unreachable(error: BaseException, message: str, otherwise: str = "reset") -> Outcome:
    """The outcome of a post that got no response that can be read."""
    if "CERTIFICATE_VERIFY_FAILED" in message:
        # Nothing heals that but a person: pause, as with a wrong token.
        return Outcome(Kind.REFUSED, message, "certificate")
    causes = _causes(error)
    if any(isinstance(cause, http.client.LineTooLong) for cause in causes):
        # http.client reads 64 KiB of a header. 1.x repeats its message in one, and some versions do
        # not cut it. The message speaks of points, and halving makes it shorter.
        text = f"a response too long to be read: {message}"
        return Outcome(Kind.POINTS, text, "response_too_long")
    # In this order: urllib3 counts a refused connection among the time-outs.
    for kinds, cause in ((_NO_CONNECTION, "no_connection"), (_TIMEOUT, "timeout")):
        if any(isinstance(one, kinds) for one in causes):
            return Outcome(Kind.FAILED, message, cause)
    return Outcome(Kind.FAILED, message, otherwise)


def _unreached(error: BaseException) -> Outcome:
    tls = isinstance(error, urllib3.exceptions.SSLError)
    return _unreachable(error, str(error), "tls" if tls else "reset")


def _causes(error: BaseException) -> list[BaseException]:
    """The error and those it was made of: urllib3 keeps them among the arguments."""
    found = [error]
    for one in found:
        inner = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        found += [i for i in inner if isinstance(i, BaseException) and i not in found]
    return found
