"""The ``requests`` session for Prometheus: credentials, TLS, proxy, kept connections.

Whatever asks the source asks through one of these: the extractor, the verifier and etlctl.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.cookies import extract_cookies_to_jar, get_cookie_header
from requests.structures import CaseInsensitiveDict
from urllib3 import ProxyManager

from common.config import ExtractSettings, OAuth2Settings
from common.runtime.exchange import watched
from common.source.credentials import Credentials
from common.source.oauth2 import AccessTokens


def source_session(extract: ExtractSettings) -> requests.Session:
    """A session that keeps its connections and requests uncompressed responses.

    Compressing a response costs Prometheus four times what the rest of it costs.
    """
    auth, session = extract.auth, requests.Session()
    session.auth = Credentials(extract, _tokens(auth.oauth2) if auth.oauth2 else None)
    session.params = dict(extract.params)
    session.verify = auth.ca_file or auth.verify
    if not session.verify:
        # The operator chose it; a warning would come with every request.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    if auth.cert_file:
        session.cert = (auth.cert_file, auth.key_file) if auth.key_file else auth.cert_file
    session.headers["Accept-Encoding"] = "identity"
    # The fronts for queries of Thanos, Mimir and Cortex keep results, and would give what they kept
    # before late samples came.
    session.headers["Cache-Control"] = "no-store"
    adapter = _WatchedAdapter(auth.server_name, pool_connections=1, pool_maxsize=4, max_retries=0)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return _settled(session, extract.prometheus_url, extract.proxy_url)


def _tokens(settings: OAuth2Settings) -> AccessTokens:
    session = requests.Session()
    session.verify = settings.ca_file or True
    adapter = _WatchedAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return AccessTokens(settings, _settled(session, settings.token_url))


def _settled(session: requests.Session, url: str, proxy_url: str | None = None) -> requests.Session:
    """``session`` with the environment's proxies and authorities, looked up once.

    It does not change while we run, and takes as long to look up as all else about a request.
    """
    found = session.merge_environment_settings(url, {}, None, session.verify, None)
    session.proxies, session.verify = found["proxies"], found["verify"]
    if proxy_url is not None:
        session.proxies = {"http": proxy_url, "https": proxy_url}
    session.trust_env = False
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
    request.url = url
    if params or session.params:
        joint = "&" if "?" in url else "?"
        request.url += joint + urlencode({**_fixed_params(session), **params}, doseq=True)
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
    response = _sent(session, request, url, timeout_seconds)
    auth = session.auth
    if response.status_code == 401 and isinstance(auth, Credentials) and auth.renewed(request):
        response.close()
        response = _sent(session, auth(request), url, timeout_seconds)
    if "Set-Cookie" in response.headers:
        # A balancer may want to recognise us.
        extract_cookies_to_jar(  # type: ignore[no-untyped-call]
            session.cookies, request, response.raw
        )
    return response


def _fixed_params(session: requests.Session) -> Mapping[str, Any]:
    return session.params if isinstance(session.params, Mapping) else {}


def _sent(
    session: requests.Session,
    request: requests.PreparedRequest,
    url: str,
    timeout_seconds: tuple[float, float],
) -> requests.Response:
    return session.get_adapter(url).send(
        request,
        stream=True,
        timeout=timeout_seconds,
        verify=True if session.verify is None else session.verify,
        cert=session.cert,
        proxies=session.proxies,
    )


class _WatchedAdapter(HTTPAdapter):
    """Its connections, through proxies too, end in time (:mod:`common.runtime.exchange`).

    ``server_name``: whose certificate is asked for and checked; None = the URL's host.
    """

    def __init__(self, server_name: str | None = None, **options: Any) -> None:
        self._tls: dict[str, Any] = {"server_hostname": server_name} if server_name else {}
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools."""
        super().init_poolmanager(*args, **(options | self._tls))
        watched(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **options: Any) -> ProxyManager:
        """Make the pools of a proxy, or find those that were made."""
        manager: ProxyManager = super().proxy_manager_for(*args, **(options | self._tls))
        if not manager.pools.keys():
            watched(manager)
        return manager
