"""How the sink is reached: credentials, TLS and proxy, as the settings, files and environment say.

Tokens and certificates are renewed while we run. Their files are looked at before each request, and
what has changed is read again, so that a rotation needs no restart. A file that cannot be read just
then (it is being replaced) changes nothing: it is looked at again.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3

from common.config.load import InfluxSettings
from common.errors import SinkError
from common.runtime.exchange import watched
from common.secret_files import check_secret_mode, read_secret
from services.loader.bounded_response import sized

_Stamp = tuple[int, int, int, int] | None


class SinkSession:
    """Connections to the sink and the headers of its requests; safe to use from any thread.

    ``environ`` is where proxies are looked for. Raises :class:`SinkError` for credentials that no
    header can carry.
    """

    def __init__(
        self,
        settings: InfluxSettings,
        *,
        connections: int,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._settings = settings
        self._connections = connections
        self._proxy = proxy_of(settings, environ)
        self._lock = threading.Lock()
        secret = settings.password if settings.username else settings.token
        self._secret_file = settings.password_file if settings.username else settings.token_file
        self._secret_stamp = _stamp(self._secret_file)
        self._tls_stamps = self._stamps()
        self.headers = self._headers(secret.get_secret_value())
        self.pool = self._pool()

    def refresh(self, *, again: bool = False) -> None:
        """Read again what has changed; the secret also if it seems not to, with ``again``."""
        with self._lock:
            stamp = _stamp(self._secret_file)
            if self._secret_file is not None and (again or stamp != self._secret_stamp):
                self._read_secret(self._secret_file, stamp)
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
            headers = self._headers(read_secret(file))
        except (ValueError, SinkError):
            return
        self._secret_stamp, self.headers = stamp, headers

    def _headers(self, secret: str) -> dict[str, str]:
        # http.client would refuse it too, with the token in the text of its error.
        user = self._settings.username
        if user is not None:
            packed = base64.b64encode(f"{user}:{secret}".encode()).decode()
            return {"Authorization": f"Basic {packed}"}
        if not all("!" <= char <= "~" for char in secret.replace(" ", "!")):
            raise SinkError("load.influxdb.token has characters that no HTTP header can carry")
        return {"Authorization": f"Token {secret}"} if secret else {}

    def _stamps(self) -> tuple[_Stamp, ...]:
        settings = self._settings
        files = (settings.ca_file, settings.cert_file, settings.key_file)
        return tuple(_stamp(file) for file in files if file is not None)

    def _pool(self) -> urllib3.PoolManager:
        settings = self._settings
        options: dict[str, Any] = {
            "maxsize": self._connections + 2,  # for the probe and the watermark
            "retries": False,
            "cert_reqs": "CERT_REQUIRED",
            "ca_certs": settings.ca_file,
            "cert_file": settings.cert_file,
            "key_file": settings.key_file,
        }
        if self._proxy is None:
            pool: urllib3.PoolManager = urllib3.PoolManager(**options)
        else:
            proxy = self._proxy
            pool = urllib3.ProxyManager(proxy.url, proxy_headers=proxy.headers, **options)
        watched(pool)
        sized(pool)
        return pool


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; ``credentials`` (``user:password``) may be empty."""

    url: str
    credentials: str

    @property
    def headers(self) -> dict[str, str]:
        """What it wants to know of us."""
        if not self.credentials:
            return {}
        return dict(urllib3.make_headers(proxy_basic_auth=unquote(self.credentials)))

    @property
    def with_credentials(self) -> str:
        """Its URL with the credentials in it."""
        if not self.credentials:
            return self.url
        scheme, _, address = self.url.partition("://")
        return f"{scheme}://{self.credentials}@{address}"


def proxy_of(settings: InfluxSettings, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy on the way to the sink.

    That of the settings, else the one that the environment names for the sink's scheme (as for
    Prometheus: ``http_proxy``, ``https_proxy``, ``all_proxy``, but for what ``no_proxy`` names).
    """
    url = settings.proxy_url
    if url is None:
        sink = urlsplit(settings.url)
        if _goes_directly(sink.hostname or "", _variable(environ, "no_proxy")):
            return None
        url = _variable(environ, f"{sink.scheme}_proxy") or _variable(environ, "all_proxy")
    if not url:
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    credentials, _, address = parts.netloc.rpartition("@")
    return Proxy(f"{parts.scheme}://{address}", credentials)


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


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _stamp(file: str | None) -> _Stamp:
    """What changes with a file; None where there is none."""
    if file is None:
        return None
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
