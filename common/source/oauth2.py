"""Access tokens of OAuth 2 by client credentials: RFC 6749, section 4.4."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from threading import Lock
from urllib.parse import quote_plus

import requests

from common.config import OAuth2Settings
from common.errors import SourceError, SourceRefused, SourceUnavailable
from common.failure_text import plain_text
from common.secret_files import current_secret
from common.source.errors import retry_after, snippet

# A token is not used for so long before it expires: the request takes its time, and clocks differ.
EXPIRES_EARLY_SECONDS = 10.0
TIMEOUT_SECONDS = (5.0, 10.0)  # to connect, and to respond
BODY_BYTES = 64 << 10


class AccessTokens:
    """Tokens from an endpoint, each kept until shortly before it expires; for any thread.

    ``session`` is used for nothing else.
    """

    def __init__(
        self,
        settings: OAuth2Settings,
        session: requests.Session,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._session = session
        self._monotonic = monotonic
        self._lock = Lock()
        self._token = ""
        self._good_until = -math.inf
        # Servers must take the client's name and secret in a header, but some do not.
        self._in_header = True

    def token(self) -> str:
        """A token that has not expired.

        Raises a :class:`~common.errors.SourceError` where the endpoint gives none.
        """
        with self._lock:
            if self._monotonic() >= self._good_until:
                self._fetch()
            return self._token

    def refused(self, token: str) -> None:
        """The source does not take this token, whatever was said of how long it is good for."""
        with self._lock:
            if token == self._token:
                self._good_until = -math.inf

    def _fetch(self) -> None:
        asked_at = self._monotonic()
        response = self._ask()
        if response.status_code in (400, 401):
            self._in_header = not self._in_header
            other = self._ask()
            if other.status_code == 200:
                response = other
            else:
                self._in_header = not self._in_header
        if response.status_code != 200:
            raise self._error_of(response)
        try:
            reply = json.loads(response.content)
            token, kind = reply["access_token"], reply.get("token_type", "bearer")
            lasts_seconds = float(reply.get("expires_in") or math.inf)
            if not token or not isinstance(token, str) or str(kind).lower() != "bearer":
                raise ValueError
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            # What it sent is not quoted: it may hold a token.
            raise SourceUnavailable(
                f"{self._where} answered with something that holds no bearer token "
                "(extract.auth.oauth2)"
            ) from None
        self._token = token
        # One that lasts hardly longer is used for half of its time.
        self._good_until = asked_at + max(lasts_seconds - EXPIRES_EARLY_SECONDS, lasts_seconds / 2)

    def _ask(self) -> requests.Response:
        settings = self._settings
        form: dict[str, object] = {
            **settings.endpoint_params,
            "grant_type": "client_credentials",
        }
        if settings.scopes:
            form["scope"] = " ".join(settings.scopes)
        client = settings.client_id, self._secret()
        auth = None
        if self._in_header:
            auth = (quote_plus(client[0]), quote_plus(client[1]))
        else:
            form |= {"client_id": client[0], "client_secret": client[1]}
        try:
            response = self._session.post(
                settings.token_url,
                data=form,
                auth=auth,
                headers={"Accept": "application/json"},
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
                stream=True,
            )
            with response:
                response._content = response.raw.read(BODY_BYTES, decode_content=True)
                return response
        except (requests.RequestException, OSError) as error:
            why = plain_text(error)
        raise SourceUnavailable(f"{self._where} cannot be reached: {why} (extract.auth.oauth2)")

    def _secret(self) -> str:
        settings = self._settings
        return current_secret(
            settings.client_secret_file, settings.client_secret.get_secret_value()
        )

    def _error_of(self, response: requests.Response) -> SourceError:
        status, body = response.status_code, response.content
        for secret in (self._secret(), quote_plus(self._secret())):
            body = body.replace(secret.encode(), b"...")
        text = (
            f"{self._where} answered {status} with {snippet(body.strip(), 300)} "
            "(extract.auth.oauth2)"
        )
        if status == 429 or status >= 500:
            headers: Mapping[str, str] = response.headers
            return SourceUnavailable(text, retry_after(headers))
        return SourceRefused(text)

    @property
    def _where(self) -> str:
        return f"was not asked: the token endpoint {self._settings.token_url}"
