"""One HTTP request to the source, and the body of its response in chunks as they arrive."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import requests
import urllib3

from common.errors import SourceError, SourceRefused, SourceUnavailable
from common.failure_text import plain_text, root_of
from common.runtime.exchange import Exchange, at_most
from common.runtime.retry_after import http_date_seconds
from common.source.credentials import Credentials
from common.source.errors import (
    plain_error,
    refusal,
    reported_error,
    retry_after,
    snippet,
    status_error,
)
from common.source.http_session import send

# Some servers and proxies refuse longer request lines; shorter queries stay readable in their logs.
LONGEST_URL_BYTES = 2_000
READ_BYTES = 256 << 10
ERROR_BODY_BYTES = 64 << 10
# Of a body that is not a window's: names and /metrics are the largest.
SMALL_BODY_BYTES = 32 << 20
REFUSED_STATUSES = (401, 403, 407)
# What a front that lets only reading pass says to a POST.
FORM_REFUSED_STATUSES = (403, 405)
# Not now, perhaps later; every other status than 200 is a refusal.
BUSY_STATUSES = (429, 503, 504)
# The server's own time-out comes first, so that the server itself reports why.
RESPONSE_MARGIN_SECONDS = 2.0


class ResponseTooSlow(SourceUnavailable):
    """The request was taken, but no response began in time: the server hangs, or works too long."""


class BodyTooLong(SourceUnavailable):
    """The response began in time, and did not end within its bounds: it drips, or has no end."""


@dataclass(frozen=True, slots=True)
class BodyBounds:
    """How long a body may take, and how large it may be.

    ``waited_seconds`` bounds how long it is waited for in all, ``seconds`` that and what is done
    with it meanwhile.
    """

    waited_seconds: float
    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Message:
    """A request's body that is no form, with the headers that say what it is."""

    content: bytes
    headers: Mapping[str, str]


class Transport:
    """Sends requests through a session. Not safe for several threads.

    Credentials in ``base_url`` are left out: they come from the session alone.

    Raises source errors whose messages name the URL, the query and the response.
    """

    def __init__(
        self,
        base_url: str,
        session: requests.Session,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.base_url = _without_credentials(base_url)
        self._session = session
        # Whether what stands before the source has refused a form and answered an address instead.
        self._addresses_only = False
        self._monotonic = monotonic
        # Each address that is asked, as requests writes it.
        self._prepared: dict[str, str] = {}
        # The ``Date`` of the response opened last, in seconds since the epoch.
        self.last_date_seconds: float | None = None
        # How much of its body has arrived.
        self.received_bytes = 0
        self._exchange: Exchange | None = None
        self._stopped = False

    @contextmanager
    def stream(
        self,
        path: str,
        params: Mapping[str, str],
        timeout_seconds: float,
        bounds: BodyBounds | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """The body of a successful response, in chunks; only inside the context.

        ``bounds`` are those of a large body; others end with the time-out, too.

        Source errors raised inside the context, by a decoder for instance, name the URL and the
        query too.

        Raises :class:`ResponseTooSlow` when no response began in time, :class:`BodyTooLong` when
        it does not end within its bounds.
        """
        with self._opened(path, params, timeout_seconds, bounds) as (response, chunks):
            if response.status_code != 200:
                raise self._error_of(response, chunks)
            yield chunks

    @contextmanager
    def post(
        self, path: str, message: Message, timeout_seconds: float, bounds: BodyBounds
    ) -> Iterator[tuple[Mapping[str, str], Iterator[bytes]]]:
        """The headers and the body of a successful response to a message, as :meth:`stream`."""
        with self._opened(path, {}, timeout_seconds, bounds, message) as (response, chunks):
            if response.status_code != 200:
                raise self._error_of(response, chunks)
            yield response.headers, chunks

    def document(
        self,
        path: str,
        timeout_seconds: float,
        limit_bytes: int,
        busy: Container[int] = BUSY_STATUSES,
    ) -> bytes | None:
        """The body at ``path``; None if the server, or a proxy before it, refuses to show it.

        ``busy``: the statuses that are no refusal.
        """
        with self._opened(path, {}, timeout_seconds) as (response, chunks):
            if response.status_code in busy:
                raise self._error_of(response, chunks)
            if response.status_code != 200:
                read_all(chunks, ERROR_BODY_BYTES)  # so that the connection can be kept
                return None
            return read_all(chunks, limit_bytes)

    @contextmanager
    def _opened(
        self,
        path: str,
        params: Mapping[str, str],
        timeout_seconds: float,
        bounds: BodyBounds | None = None,
        message: Message | None = None,
    ) -> Iterator[tuple[requests.Response, Iterator[bytes]]]:
        url = f"{self.base_url}/{path}"
        if bounds is None:
            bounds = BodyBounds(timeout_seconds, timeout_seconds, SMALL_BODY_BYTES)
        try:
            with at_most(timeout_seconds + RESPONSE_MARGIN_SECONDS) as exchange:
                self._exchange = exchange
                if self._stopped:
                    exchange.expire()
                response = self._send(url, params, message, timeout_seconds, exchange)
                self.last_date_seconds = http_date_seconds(response.headers.get("Date", ""))
                try:
                    # A message's answer comes in many small pieces, one for each series.
                    read = response.raw.read if message else response.raw.read1
                    yield response, self._chunks(response, read, bounds, exchange)
                finally:
                    # Keeps the connection if the body was read to its end, else closes it.
                    response.close()
        except SourceError as error:
            query = f", query {snippet(params['query'], 400)}" if "query" in params else ""
            # It may quote the server, at any length and with line breaks.
            what = " ".join(f"{error!s:.800}".split())
            error.args = (f"Prometheus at {url} {what}{query}",)
            raise

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    @property
    def stopped(self) -> bool:
        """Whether it was, and answers to nothing any more."""
        return self._stopped

    def stop(self) -> None:
        """End the request that is under way, and every later one; from any thread."""
        self._stopped = True
        if self._exchange is not None:
            self._exchange.expire()

    def _send(
        self,
        url: str,
        params: Mapping[str, str],
        message: Message | None,
        timeout_seconds: float,
        exchange: Exchange,
    ) -> requests.Response:
        attempts = 0
        while True:
            attempts += 1
            try:
                if message:
                    content, headers = message.content, message.headers
                    response = self._ask(url, timeout_seconds, content=content, headers=headers)
                else:
                    response = self._request(url, params, timeout_seconds)
                if exchange.expired:
                    # A head that was cut off looks whole.
                    response.close()
                    raise self._expired(timeout_seconds)
                return response
            except requests.ConnectTimeout:
                raise SourceUnavailable(
                    f"cannot be reached: no connection within {timeout_seconds:g} s", away=True
                ) from None
            except requests.ReadTimeout:
                raise ResponseTooSlow(
                    f"did not answer within {timeout_seconds + RESPONSE_MARGIN_SECONDS:g} s"
                ) from None
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                if exchange.expired:
                    raise self._expired(timeout_seconds) from None
                # The server may have closed a kept connection just when we took it up.
                if attempts > 1 or not isinstance(root_of(error), _STALE):
                    raise _unreachable(error, away=attempts == 1) from None

    def _request(
        self, url: str, params: Mapping[str, str], timeout_seconds: float
    ) -> requests.Response:
        long = len(url) + len(urlencode(params)) > LONGEST_URL_BYTES
        if not long or self._addresses_only:
            return self._ask(url, timeout_seconds, params=params)
        response = self._ask(url, timeout_seconds, content=params)
        if response.status_code not in FORM_REFUSED_STATUSES:
            return response
        response.close()
        response = self._ask(url, timeout_seconds, params=params)
        self._addresses_only = response.status_code == 200
        return response

    def _ask(self, url: str, timeout_seconds: float, **content: Any) -> requests.Response:
        if url not in self._prepared:
            self._prepared[url] = str(requests.Request("GET", url).prepare().url)
        return send(
            self._session,
            "POST" if "content" in content else "GET",
            # A redirect, which could take our credentials to another host, is not followed.
            self._prepared[url],
            **content,
            timeout_seconds=(timeout_seconds, timeout_seconds + RESPONSE_MARGIN_SECONDS),
        )

    def _expired(self, timeout_seconds: float) -> SourceError:
        if self._stopped:
            return SourceUnavailable("was not waited for, as this process stops")
        seconds = timeout_seconds + RESPONSE_MARGIN_SECONDS
        return ResponseTooSlow(f"did not answer within {seconds:g} s")

    def _chunks(
        self,
        response: requests.Response,
        read: Callable[..., bytes],
        bounds: BodyBounds,
        exchange: Exchange,
    ) -> Iterator[bytes]:
        """The body, checked to be as long as its Content-Length or chunked encoding says."""
        encoded = response.headers.get("Content-Encoding", "identity") != "identity"
        self.received_bytes, waited_seconds = 0, 0.0
        ends_at = time.monotonic() + bounds.seconds
        while True:
            before = self._monotonic()
            left_seconds = ends_at - time.monotonic()
            # One piece may drip, too.
            exchange.allow(min(bounds.waited_seconds - waited_seconds, left_seconds))
            try:
                piece = read(READ_BYTES, decode_content=encoded)
            except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
                self._check_ended(exchange, bounds)
                raise SourceUnavailable(
                    f"broke off in the middle of its response: {plain_text(error)}"
                ) from None
            self._check_ended(exchange, bounds)
            if not piece:
                return
            # What is done with a piece takes its own time.
            exchange.allow(ends_at - time.monotonic())
            waited_seconds += self._monotonic() - before
            self.received_bytes += len(piece)
            if self.received_bytes > bounds.bytes:
                raise BodyTooLong(
                    f"sent {self.received_bytes} bytes and not the end of its response, "
                    f"more than {bounds.bytes >> 20} MiB"
                )
            yield piece

    def _error_of(self, response: requests.Response, chunks: Iterator[bytes]) -> SourceError:
        """What a response means that is no success."""
        status, headers = response.status_code, response.headers
        if error := status_error(status, headers):
            return error
        try:
            body = read_all(chunks, ERROR_BODY_BYTES)
            if isinstance(self._session.auth, Credentials):
                body = self._session.auth.hidden(body)
        except BodyTooLong as long:
            return SourceUnavailable(f"answered {status}, and {long}", retry_after(headers))
        try:
            reply = json.loads(body)
            reported = reply["status"] == "error"
        except (ValueError, KeyError, TypeError, RecursionError):
            reported = False
        if status in REFUSED_STATUSES:
            text = str(reply.get("error", "")).encode() if reported else body
            return refusal(status, text, str(response.request.headers.get("Authorization", "")))
        if reported:
            return reported_error(
                str(reply.get("errorType", "")), str(reply.get("error", "")), status, headers
            )
        if status == 504:
            return ResponseTooSlow("did not answer the proxy before it in time (504)")
        return plain_error(status, body, headers)

    def _check_ended(self, exchange: Exchange, bounds: BodyBounds) -> None:
        """Raise if it was not the server that ended the response."""
        if not exchange.expired:
            return
        if self._stopped:
            raise SourceUnavailable("was not waited for, as this process stops")
        raise BodyTooLong(
            f"sent {self.received_bytes} bytes and not the end of its response "
            f"within {bounds.waited_seconds:g} s of waiting, or {bounds.seconds:g} s in all"
        )


def _without_credentials(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")


def read_all(chunks: Iterator[bytes], limit_bytes: int) -> bytes:
    """A whole body, cut off at the first chunk past ``limit_bytes``."""
    pieces, size = [], 0
    for chunk in chunks:
        pieces.append(chunk)
        size += len(chunk)
        if size > limit_bytes:
            break
    return b"".join(pieces)


_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


def _unreachable(error: Exception, *, away: bool) -> SourceError:
    message, root = plain_text(error), root_of(error)
    if isinstance(root, ssl.SSLCertVerificationError):
        key = "prometheus_url" if "mismatch" in root.verify_message else "auth.ca_file"
        return SourceRefused(f"cannot be trusted: {message} (extract.{key})")
    if isinstance(root, ssl.SSLError) and "certificate" in message.lower():
        return SourceRefused(f"does not trust us: {message} (extract.auth.cert_file)")
    return SourceUnavailable(f"cannot be reached: {message}", away=away)
