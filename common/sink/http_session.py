"""How the sink is reached: credentials, TLS and proxy, as the settings, files and environment say.

Tokens, headers and certificates are renewed while we run. Their files are looked at before each
request, and what has changed is read again, so that a rotation needs no restart. A file that cannot
be read just then (it is being replaced) changes nothing: it is looked at again.
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import urllib3

from common.config.headers import read_header
from common.config.load import InfluxSettings
from common.errors import SinkError
from common.runtime.exchange import at_most, watched
from common.secret_files import check_secret_mode, read_secret
from common.sink.addresses import Addresses
from common.sink.bounded_response import RESPONSE_BYTES_MAX, sized

# A server that is there accepts a connection at once; only its response may take the full time-out.
# Together they bound an exchange as a whole.
CONNECT_SECONDS = 5.0

NO_RESPONSE = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
_NO_CONNECTION = (urllib3.exceptions.NewConnectionError, ConnectionRefusedError, socket.gaierror)

_Stamp = tuple[int, int, int, int] | None


class SinkSession:
    """Connections to the sink and the headers of its requests; safe to use from any thread.

    ``environ`` is where proxies are looked for. ``token``, which ``token_from`` names, takes the
    place of the credentials of the settings. ``response_bytes_max`` is what is read of a response
    that is asked for whole. Raises :class:`SinkError` for credentials that no header can carry.
    """

    def __init__(
        self,
        settings: InfluxSettings,
        *,
        connections: int,
        environ: Mapping[str, str] = os.environ,
        token: str | None = None,
        token_from: str = "",
        response_bytes_max: int = RESPONSE_BYTES_MAX,
    ) -> None:
        self.settings = settings
        self.addresses = Addresses(settings.all_urls, settings.return_to_first_seconds)
        self.proxy = proxy_of(settings, environ)
        # To connect, and to respond.
        self.timeout_seconds = (
            min(CONNECT_SECONDS, settings.timeout_seconds),
            settings.timeout_seconds,
        )
        self._connections = connections
        self._response_bytes_max = response_bytes_max
        self._lock = threading.Lock()
        self._user = settings.username if token is None else None
        self._secret_file: str | None = None
        # The setting, and the file that it names: what an error has to tell.
        self.credentials_from = token_from
        if token is None:
            key = "password" if self._user else "token"
            token = getattr(settings, key).get_secret_value()
            file = self._secret_file = getattr(settings, f"{key}_file")
            named = f"_file: {file}" if file else "" if token else " is not set"
            self.credentials_from = f"load.influxdb.{key}{named}"
        # The settings may have read it long ago, so it is read again at the first request.
        self._secret_stamp: _Stamp = None
        self._tls_stamps = self._stamps()
        self._credentials = self._authorization(token)
        self._more_stamps: dict[str, _Stamp] = {}
        self._more = {name: text.get_secret_value() for name, text in settings.headers.items()}
        for name, file in settings.header_files.items():
            self._read_header(name, file)
        self.headers = self._more | self._credentials
        self.pool = self._pool()

    @property
    def url(self) -> str:
        """The URL that is in use."""
        return self.addresses.url

    def request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        *,
        url: str | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """A response whose body was read, up to the bound; of ``url`` and no other, if given.

        Raises errors of urllib3 and http.client, and :class:`OSError`.
        """

        def ask(base: str) -> urllib3.BaseHTTPResponse:
            response = self._send(base, method, path, query, body, headers)
            try:
                response.data  # noqa: B018 (read once, and kept)
            finally:
                response.release_conn()
            return response

        def bounded(base: str) -> urllib3.BaseHTTPResponse:
            # One that hangs must not use up the time of the others.
            with at_most(self.timeout_seconds[1]) as exchange:
                response = ask(base)
            if exchange.expired:
                raise TimeoutError(f"no whole response of {base} in time")
            return response

        self.refresh()
        if url is not None:
            return ask(url)
        return self.in_turn(bounded if len(self.addresses.urls) > 1 else ask)

    def open(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> urllib3.BaseHTTPResponse:
        """A response of which only the head was read; it is closed by whoever reads the rest.

        Raises as :meth:`request` does.
        """

        def ask(base: str) -> urllib3.BaseHTTPResponse:
            return self._send(base, method, path, query, body, headers)

        self.refresh()
        # What comes in pieces can be sent once only.
        return self.in_turn(ask) if isinstance(body, bytes | None) else ask(self.url)

    def in_turn(
        self, ask: Callable[[str], urllib3.BaseHTTPResponse], *, again: bool = True
    ) -> urllib3.BaseHTTPResponse:
        """What ``ask`` gets from the URL in use; where that fails, from one after the other.

        Without ``again`` only what had no connection is sent to another URL. Raises as
        :meth:`request` does.
        """
        addresses = self.addresses
        base = addresses.try_first()
        for _ in addresses.urls:
            try:
                response = ask(base)
            except NO_RESPONSE as error:
                may_go_on = again or has_no_connection(error)
                if not addresses.failed(base) or not may_go_on:
                    raise
            else:
                if response.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    addresses.answered(base)
                    return response
                if not addresses.failed(base) or not again:
                    return response
                response.close()
            base = addresses.url
        return ask(base)

    def _send(
        self,
        base: str,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        body: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
    ) -> urllib3.BaseHTTPResponse:
        connect_seconds, read_seconds = self.timeout_seconds
        return self.pool.request(
            method,
            f"{base}{path}" + (f"?{urlencode(query)}" if query else ""),
            body=body,
            headers={**self.headers, "Content-Type": "text/plain; charset=utf-8", **headers},
            timeout=urllib3.Timeout(connect=connect_seconds, read=read_seconds),
            retries=False,
            redirect=False,  # it could take the credentials to another host
            preload_content=False,  # it would read all before the bound is there
        )

    def refresh(self, *, again: bool = False) -> None:
        """Read again what has changed; the secret also if it seems not to, with ``again``."""
        with self._lock:
            stamp = _stamp(self._secret_file)
            if self._secret_file is not None and (again or stamp != self._secret_stamp):
                self._read_secret(self._secret_file, stamp)
            for name, file in self.settings.header_files.items():
                with suppress(SinkError):  # it is being replaced, and looked at again
                    self._read_header(name, file)
            self.headers = self._more | self._credentials
            if (stamps := self._stamps()) != self._tls_stamps and None not in stamps:
                self._tls_stamps = stamps
                old, self.pool = self.pool, self._pool()
                old.clear()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self.pool.clear()

    def _read_secret(self, file: str, stamp: _Stamp) -> None:
        try:
            check_secret_mode(file)
            credentials = self._authorization(read_secret(file))
        except (ValueError, SinkError):
            return
        self._secret_stamp, self._credentials = stamp, credentials

    def _read_header(self, name: str, file: str) -> None:
        stamp = _stamp(file)
        if name in self._more and stamp == self._more_stamps[name]:
            return
        try:
            self._more = self._more | {name: read_header(file)}
        except ValueError as error:
            raise SinkError(f"load.influxdb.header_files.{name}: {error}") from None
        self._more_stamps[name] = stamp

    def _authorization(self, secret: str) -> dict[str, str]:
        # http.client would refuse it too, with the token in the text of its error.
        if self._user is not None:
            packed = base64.b64encode(f"{self._user}:{secret}".encode()).decode()
            return {"Authorization": f"Basic {packed}"}
        if not all("!" <= char <= "~" for char in secret.replace(" ", "!")):
            where = self.credentials_from
            raise SinkError(f"{where}: has characters that no HTTP header can carry")
        return {"Authorization": f"Token {secret}"} if secret else {}

    def _stamps(self) -> tuple[_Stamp, ...]:
        settings = self.settings
        files = (settings.ca_file, settings.cert_file, settings.key_file)
        return tuple(_stamp(file) for file in files if file is not None)

    def _pool(self) -> urllib3.PoolManager:
        settings = self.settings
        options: dict[str, Any] = {
            "maxsize": self._connections + 2,  # for the probe and the watermark
            "retries": False,
            "cert_reqs": "CERT_REQUIRED",
            "ca_certs": settings.ca_file,
            "cert_file": settings.cert_file,
            "key_file": settings.key_file,
            "server_hostname": settings.server_name,
        }
        if self.proxy is None:
            pool: urllib3.PoolManager = urllib3.PoolManager(**options)
        else:
            proxy = self.proxy
            pool = urllib3.ProxyManager(proxy.url, proxy_headers=proxy.headers, **options)
        watched(pool)
        sized(pool, self._response_bytes_max)
        return pool


def causes_of(error: BaseException) -> list[BaseException]:
    """The error and those it was made of: urllib3 keeps them among the arguments."""
    found = [error]
    for one in found:
        inner = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        found += [i for i in inner if isinstance(i, BaseException) and i not in found]
    return found


def has_no_connection(error: BaseException) -> bool:
    """Whether there was nobody to send anything to."""
    return any(isinstance(one, _NO_CONNECTION) for one in causes_of(error))


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; ``credentials`` (``user:password``) may be empty.

    ``named_by`` is the setting, or the variable, that names it.
    """

    url: str
    credentials: str
    named_by: str = field(default="", compare=False)

    @property
    def headers(self) -> dict[str, str]:
        """What it wants to know of us."""
        if not self.credentials:
            return {}
        return dict(urllib3.make_headers(proxy_basic_auth=unquote(self.credentials)))


def proxy_of(settings: InfluxSettings, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy on the way to the sink.

    That of the settings, else the one that the environment names for the sink's scheme (as for
    Prometheus: ``http_proxy``, ``https_proxy``, ``all_proxy``, but for what ``no_proxy`` names).
    """
    url, named_by = settings.proxy_url, "load.influxdb.proxy_url"
    if url is None:
        sink = urlsplit(settings.url)
        if _goes_directly(sink.hostname or "", _variable(environ, "no_proxy")[0]):
            return None
        for name in (f"{sink.scheme}_proxy", "all_proxy"):
            url, named_by = _variable(environ, name)
            if url:
                break
    if not url:
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    credentials, _, address = parts.netloc.rpartition("@")
    return Proxy(f"{parts.scheme}://{address}", credentials, named_by)


def _goes_directly(host: str, no_proxy: str) -> bool:
    """Whether ``no_proxy`` names the host, a domain that it is in, or a network."""
    for name in filter(None, (name.strip().lower() for name in no_proxy.split(","))):
        if name == "*" or host == name.lstrip(".") or host.endswith("." + name.lstrip(".")):
            return True
        try:
            if ip_address(host) in ip_network(name, strict=False):
                return True
        except ValueError:
            continue
    return False


def _variable(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """Its value, empty if there is none, and its name as it is written."""
    written = name if environ.get(name) else name.upper()
    return environ.get(written, ""), written


def _stamp(file: str | None) -> _Stamp:
    """What changes with a file; None where there is none."""
    if file is None:
        return None
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
