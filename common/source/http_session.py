"""The ``requests`` session for Prometheus: credentials, TLS, kept connections."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import requests
import urllib3
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from requests.cookies import extract_cookies_to_jar, get_cookie_header
from requests.structures import CaseInsensitiveDict
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


def send(
    session: requests.Session,
    method: str,
    url: str,
    *,
    params: Mapping[str, str] = MappingProxyType({}),
    content: Mapping[str, str] | bytes | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    timeout_seconds: tuple[float, float],
) -> requests.Response:
    """What ``session.request`` sends and raises, at two thirds of its cost; the body is not read.

    ``url`` is one that ``requests`` has prepared, ``content`` a form or a body. There are no
    redirects and hooks, and the environment is not looked through for each request.
    ``timeout_seconds``: to connect, and to respond.
    """
    request = requests.PreparedRequest()
    request.method = method
    request.url = f"{url}?{urlencode(params)}" if params else url
    request.headers = CaseInsensitiveDict(
        {name: str(text) for name, text in session.headers.items()}
    )
    request.headers.update(headers)
    request.hooks = {}
    if content is not None:
        if isinstance(content, Mapping):
            content = urlencode(content).encode()
            request.headers["Content-Type"] = "application/x-www-form-urlencoded"
        request.body = content
        request.headers["Content-Length"] = str(len(content))
    if session.cookies:
        cookies = get_cookie_header(session.cookies, request)  # type: ignore[no-untyped-call]
        if cookies:
            request.headers["Cookie"] = cookies
    if callable(session.auth):
        request = session.auth(request)
    response = session.get_adapter(url).send(
        request,
        stream=True,
        timeout=timeout_seconds,
        verify=True if session.verify is None else session.verify,
        cert=session.cert,
        proxies=session.proxies,
    )
    if "Set-Cookie" in response.headers:
        # A balancer may want to recognise us.
        extract_cookies_to_jar(  # type: ignore[no-untyped-call]
            session.cookies, request, response.raw
        )
    return response


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
