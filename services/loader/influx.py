"""The client of the sink: bytes in, outcome out.

Bodies are posted as they are through influxdb-client's ``WriteService``; the client's retries are
off, because a retry is a verdict and the verdict's business is who waits and how long.
"""

from __future__ import annotations

import http.client
import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from influxdb_client.service.write_service import WriteService

from common.config.load import InfluxSettings
from common.errors import SinkError
from services.loader import influx3
from services.loader.deadline import at_most, bounded
from services.loader.responses import Kind, Outcome, classify
from services.loader.retention_cache import RetentionCache

# A server that is there accepts a connection at once; only its response may take the full time-out.
# Together they bound a post as a whole, and a lease outlives their sum.
CONNECT_SECONDS = 5.0

# They speak of connections and, at debug, of headers and bodies; what matters of it is in Outcome.
_LOGGERS = ("influxdb_client", "urllib3")


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
        token = settings.token.get_secret_value()
        # http.client would refuse it too, with the token in the text of its error.
        if not all("!" <= char <= "~" for char in token.replace(" ", "!")):
            raise SinkError("load.influxdb.token has characters that no HTTP header can carry")
        try:
            self._client = InfluxDBClient(
                url=settings.url,
                token=token,
                org=settings.org,
                retries=False,
                ssl_ca_cert=settings.ca_file,
                connection_pool_maxsize=connections + 2,  # for the probe and the watermark
            )
        except (ValueError, OSError) as error:
            raise SinkError(f"no client for load.influxdb can be built: {error}") from None
        for name in _LOGGERS:  # building a client sets them to WARNING
            logging.getLogger(name).setLevel(logging.ERROR)
        bounded(self._client.api_client.rest_client.pool_manager)
        self._service = WriteService(self._client.api_client)
        self._org = settings.org
        connect_seconds = min(CONNECT_SECONDS, settings.timeout_seconds)
        self._timeout_ms = 1000 * connect_seconds, 1000 * settings.timeout_seconds
        self._at_most_seconds = connect_seconds + settings.timeout_seconds
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
            with at_most(self._at_most_seconds):
                try:
                    self._recognise()
                except _NO_RESPONSE:
                    return None  # a post will tell
        return self._retention.seconds(bucket) if self._is_3 else None

    def close(self) -> None:
        """Close the client and its connections; harmless when repeated."""
        self._client.close()

    def _post(self, bucket: str, body: bytes, **headers: Any) -> Outcome:
        with at_most(self._at_most_seconds) as exchange:
            outcome = self._exchange(bucket, body, **headers)
        if exchange.expired:
            message = f"no whole response within {self._at_most_seconds:g} s"
            return Outcome(Kind.FAILED, message, "timeout")
        return outcome

    def _exchange(self, bucket: str, body: bytes, **headers: Any) -> Outcome:
        is_3: bool | None = None
        try:
            is_3 = self._recognise() if self._is_3 is None else self._is_3
            response = self._send(bucket, body, is_3=bool(is_3), **headers)
            try:
                return self._understand(response.status, response.headers, response.data, is_3)
            finally:
                response.release_conn()
        except ApiException as error:
            if not error.status:  # TLS: there was no response
                return _unreachable(error, str(error.reason), "tls")
            return self._understand(error.status, error.headers, error.body, is_3)
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            return _unreachable(error, str(error))

    def _send(self, bucket: str, body: bytes, *, is_3: bool, **headers: Any) -> Any:
        if is_3:
            sent = {"Content-Encoding": "gzip"} if headers else {}
            return self._request(
                "POST", influx3.WRITE_PATH, influx3.write_query(bucket), body, sent
            )
        return self._service.post_write(
            org=self._org,
            bucket=bucket,
            body=body,
            precision="ms",
            # The body is read by us: the client would decode it, and fail on what is not UTF-8.
            _preload_content=False,
            _request_timeout=self._timeout_ms,
            **headers,
        )

    def _request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:
        """A request beside the client's services, with its token, over its connections."""
        return self._client.api_client.call_api(
            path,
            method,
            query_params=list(query),
            header_params={"Content-Type": "text/plain; charset=utf-8", **headers},
            body=body,
            _return_http_data_only=True,  # the response itself, as below
            _preload_content=False,
            _request_timeout=self._timeout_ms,
        )

    def _recognise(self) -> bool | None:
        """Whether InfluxDB 3 is there; raises as a request does where no answer says so.

        It wants a token for a ping, and a proxy may let no ping through: then it is written to as
        InfluxDB 2 is, and 3 refuses that for the same token.
        """
        try:
            response = self._request("GET", influx3.PING_PATH)
            try:
                body = response.read(_PING_BYTES_MAX, decode_content=True)
                self._is_3 = influx3.is_3(body)
            finally:
                response.close()  # once a probe: not worth finding out whether more would come
        except ApiException as error:
            if error.status in _NOT_FOR_US:
                return None
            if error.status is None or not 400 <= error.status < 500 or error.status in _LATER:
                raise
            self._is_3 = False
        return self._is_3

    def _ask_retention(self) -> dict[str, float] | None:
        with at_most(self._at_most_seconds):
            try:
                query = influx3.RETENTION_QUERY
                response = self._request("GET", influx3.QUERY_PATH, query)
                try:
                    return influx3.retention_seconds(response.data)
                finally:
                    response.release_conn()
            except _NO_RESPONSE:
                return None

    def _understand(
        self, status: int, headers: Any, body: bytes | None, is_3: bool | None
    ) -> Outcome:
        understand = influx3.classify_3 if is_3 else classify
        return understand(status, headers, body or b"", now_seconds=self._wall_clock())


_NO_RESPONSE = (ApiException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
_PING_BYTES_MAX = 4096
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


def _causes(error: BaseException) -> list[BaseException]:
    """The error and those it was made of: urllib3 keeps them among the arguments."""
    found = [error]
    for one in found:
        inner = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        found += [i for i in inner if isinstance(i, BaseException) and i not in found]
    return found
