"""The client of the sink: bytes in, outcome out.

Bodies are posted as they are. Nothing is tried again here: a retry is a verdict, and the verdict's
business is who waits and how long. influxdb-client would add nothing to that but its import, which
takes a seventh of the loader's memory.
"""

from __future__ import annotations

import http.client
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import urllib3

from common.config.load import InfluxSettings
from common.errors import SinkError
from common.runtime.exchange import at_most
from common.sink.addresses import Addresses
from common.sink.http_session import NO_RESPONSE, SinkSession, causes_of, has_no_connection
from common.sink.influx3 import PING_PATH, ask_retention_seconds, is_3
from services.loader import influx3
from services.loader.responses import Kind, Outcome, classify
from services.loader.retention_cache import RetentionCache

WRITE_PATH = "/api/v2/write"

# Where there is another URL to ask, one that takes longer for nothing counts as away.
PROBE_SECONDS = 5.0


class InfluxSink:
    """InfluxDB 2, or 1.x behind the same write path; InfluxDB 3 on its own.

    Safe to use from ``connections`` threads at a time; each has a connection of its own, kept open.
    Of several URLs a probe asks one after the other until one serves us, and with
    ``own_failover`` a post does, too. Without, whoever counts the failures of posts says when the
    next URL is to be used: :attr:`addresses`.
    Raises :class:`SinkError` when no client can be built from the settings.
    """

    def __init__(
        self,
        settings: InfluxSettings,
        *,
        connections: int,
        own_failover: bool = True,
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
        self._own_failover = own_failover
        self._is_3: dict[str, bool] = {}  # by URL, where it is known
        self._retention = RetentionCache(self._ask_retention)

    def write(self, bucket: str, body: bytes) -> Outcome:
        """Post ``body``, one gzip member of lines (ms), as it is; never raises for a response."""
        if self._own_failover:
            return self._in_turn(bucket, body, self._at_most_seconds, content_encoding="gzip")
        url = self._session.url
        return self._post(url, bucket, body, self._at_most_seconds, content_encoding="gzip")

    @property
    def addresses(self) -> Addresses:
        """Which URL is in use."""
        return self._session.addresses

    def probe(self, bucket: str) -> Outcome:
        """Post nothing: token, organisation and bucket are checked before the body is.

        2.7 and 1.x respond with 204 to an empty body. 2.0 with 400 "writing requires points" and 3
        with 400 "incoming write was empty" are as good. Each is :attr:`Kind.WRITTEN`.
        """
        self._session.refresh(again=True)
        self._is_3 = {}  # other servers may be there by now
        most_seconds = self._at_most_seconds
        if len(self.addresses.urls) > 1:
            most_seconds = min(most_seconds, PROBE_SECONDS)
        outcome = self._in_turn(bucket, b"", most_seconds)
        if outcome.kind is Kind.POINTS:
            return Outcome(Kind.WRITTEN, outcome.message, Kind.WRITTEN.value, outcome.status)
        return outcome

    def silent_retention_seconds(self, bucket: str) -> float | None:
        """How long points are kept, where the sink takes older ones and forgets them: InfluxDB 3.

        Infinity if it keeps them for ever, or nothing is known of it; None for a sink that refuses
        what is too old.
        """
        url = self._session.url
        if url not in self._is_3:
            self._recognise(url, self._at_most_seconds)  # if nobody answers, a post will tell
        return self._retention.seconds(bucket) if self._is_3.get(url) else None

    @property
    def retention_unknown(self) -> str | None:
        """Why nothing is known of the retention of a sink that forgets without a word, if so."""
        return self._retention.unknown if self._is_3.get(self._session.url) else None

    def close(self) -> None:
        """Close the connections; harmless when repeated."""
        self._session.close()

    def _in_turn(self, bucket: str, body: bytes, at_most_seconds: float, **headers: Any) -> Outcome:
        """What the URL in use says; where it fails, what the first says that does not."""
        url = self.addresses.try_first()
        for _ in self.addresses.urls:
            outcome = self._post(url, bucket, body, at_most_seconds, **headers)
            if not outcome.strains:
                self.addresses.answered(url)
                return outcome
            if not self.addresses.failed(url):
                return outcome
            url = self.addresses.url
        return self._post(url, bucket, body, at_most_seconds, **headers)

    def _post(
        self, url: str, bucket: str, body: bytes, at_most_seconds: float, **headers: Any
    ) -> Outcome:
        is_3 = self._is_3.get(url)
        if is_3 is None:
            recognised = self._recognise(url, at_most_seconds)
            if isinstance(recognised, Outcome):
                return replace(recognised, url=url)
            is_3 = recognised
        with at_most(at_most_seconds) as exchange:
            exchange_ = self._exchange_3 if is_3 else self._exchange
            outcome = exchange_(url, bucket, body, **headers)
        return replace(self._too_slow(at_most_seconds) if exchange.expired else outcome, url=url)

    def _too_slow(self, at_most_seconds: float) -> Outcome:
        message = f"no whole response within {at_most_seconds:g} s"
        return Outcome(Kind.FAILED, message, "timeout")

    def _exchange(
        self, url: str, bucket: str, body: bytes, *, content_encoding: str = "identity"
    ) -> Outcome:
        query = (("org", self._org), ("bucket", bucket), ("precision", "ms"))
        try:
            response = self._session.request(
                "POST", WRITE_PATH, query, body, {"Content-Encoding": content_encoding}, url=url
            )
        except NO_RESPONSE as error:
            return _unreached(error)
        return self._understand(response.status, response.headers, response.data)

    def _understand(self, status: int, headers: Any, body: bytes | None) -> Outcome:
        return classify(status, headers, body or b"", now_seconds=self._wall_clock())

    # -- InfluxDB 3 -----------------------------------------------------------------------

    def _exchange_3(
        self, url: str, bucket: str, body: bytes, *, content_encoding: str = "identity"
    ) -> Outcome:
        query = influx3.write_query(bucket)
        try:
            encoding = {"Content-Encoding": content_encoding}
            response = self._session.request(
                "POST", influx3.WRITE_PATH, query, body, encoding, url=url
            )
        except NO_RESPONSE as error:
            return _unreached(error)
        now_seconds = self._wall_clock()
        return influx3.classify_3(
            response.status, response.headers, response.data, now_seconds=now_seconds
        )

    def _recognise(self, url: str, at_most_seconds: float) -> bool | Outcome:
        """Whether InfluxDB 3 is there; an outcome where no answer says so.

        It wants a token for a ping, and a proxy may let no ping through: then, until the next
        probe, it is written to as InfluxDB 2 is, and 3 refuses that for the same token.
        """
        with at_most(at_most_seconds) as exchange:
            try:
                response = self._session.request("GET", PING_PATH, url=url)
            except NO_RESPONSE as error:
                if not exchange.expired:
                    return _unreached(error)
        if exchange.expired:
            return self._too_slow(at_most_seconds)
        if response.status in _LATER or response.status >= 500:
            return self._understand(response.status, response.headers, response.data)
        found = response.status not in _NOT_FOR_US and is_3(response.data)
        self._is_3[url] = found
        return found

    def _ask_retention(self) -> dict[str, float] | str:
        with at_most(self._at_most_seconds):
            try:
                return ask_retention_seconds(self._session)
            except NO_RESPONSE as error:
                return _unreached(error).message


_NOT_FOR_US = (401, 403)
_LATER = (408, 429)
_TIMEOUT = (urllib3.exceptions.TimeoutError, TimeoutError)


def _unreachable(error: BaseException, message: str, otherwise: str = "reset") -> Outcome:
    """The outcome of a post that got no response that can be read."""
    if "CERTIFICATE_VERIFY_FAILED" in message:
        # Nothing heals that but a person: pause, as with a wrong token.
        return Outcome(Kind.REFUSED, message, "certificate")
    causes = causes_of(error)
    if any(isinstance(cause, http.client.LineTooLong) for cause in causes):
        # http.client reads 64 KiB of a header. 1.x repeats its message in one, and some versions do
        # not cut it. The message speaks of points, and halving makes it shorter.
        text = f"a response too long to be read: {message}"
        return Outcome(Kind.POINTS, text, "response_too_long")
    # In this order: urllib3 counts a refused connection among the time-outs.
    if has_no_connection(error):
        return Outcome(Kind.FAILED, message, "no_connection")
    if any(isinstance(one, _TIMEOUT) for one in causes):
        return Outcome(Kind.FAILED, message, "timeout")
    return Outcome(Kind.FAILED, message, otherwise)


def _unreached(error: BaseException) -> Outcome:
    tls = isinstance(error, urllib3.exceptions.SSLError)
    return _unreachable(error, str(error), "tls" if tls else "reset")
