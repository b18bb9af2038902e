"""The ``requests`` session for Prometheus: credentials, TLS, kept connections."""

from __future__ import annotations

from typing import Any

import requests
import urllib3
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3 import ProxyManager

from common.config import AuthSettings
from common.config.secrets import read_secret
from common.runtime.exchange import watched


def source_session(auth: AuthSettings) -> requests.Session:
    """A session with ``auth`` that keeps its connections and requests uncompressed responses.

    Compressing a response costs Prometheus four times what the rest of it costs.
    """
    session = requests.Session()
    session.auth = _Credentials(auth)
    session.verify = auth.ca_file or auth.verify
    if not session.verify:
        # The operator chose it; a warning would come with every request.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    if auth.cert_file:
        session.cert = (auth.cert_file, auth.key_file) if auth.key_file else auth.cert_file
    session.headers["Accept-Encoding"] = "identity"
    adapter = _WatchedAdapter(pool_connections=1, pool_maxsize=4, max_retries=0)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class _WatchedAdapter(HTTPAdapter):
    """Its connections, through proxies too, end in time (:mod:`common.runtime.exchange`)."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools."""
        super().init_poolmanager(*args, **options)
        watched(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **options: Any) -> ProxyManager:
        """Make the pools of a proxy, or find those that were made."""
        manager: ProxyManager = super().proxy_manager_for(*args, **options)
        if not manager.pools.keys():
            watched(manager)
        return manager


class _Credentials(AuthBase):
    """Adds the ``Authorization`` header.

    Secret files are read for each request, because tokens are renewed while we run. Always set, so
    that ``requests`` does not look for a password in ``~/.netrc``.
    """

    def __init__(self, auth: AuthSettings) -> None:
        self._auth = auth

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        auth = self._auth
        # Headers are sent as Latin-1, but Prometheus reads UTF-8.
        if token := _current(auth.bearer_token_file, auth.bearer_token):
            request.headers["Authorization"] = f"Bearer {token}".encode().decode("latin-1")
        elif auth.username is not None:
            password = _current(auth.password_file, auth.password)
            request = HTTPBasicAuth(auth.username.encode(), password.encode())(request)
        return request


def _current(file: str | None, known_from_start: SecretStr) -> str:
    if file is None:
        return known_from_start.get_secret_value()
    try:
        return read_secret(file)
    except ValueError:
        # Half-way through being replaced, perhaps: the one we began with may still do.
        return known_from_start.get_secret_value()
