"""What each request to the source says of us: credentials, and headers of the settings."""

from __future__ import annotations

from collections.abc import Iterator

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from common.config import ExtractSettings
from common.errors import SourceRefused
from common.secret_files import current_secret, read_secret
from common.source.oauth2 import AccessTokens

# Shorter values of headers are no secrets, but names of tenants: messages keep them.
LEAST_SECRET_CHARS = 6


class Credentials(AuthBase):
    """Adds the ``Authorization`` header, and those of the settings.

    Secret files are read for each request, because tokens are renewed while we run. Always set, so
    that ``requests`` does not look for a password in ``~/.netrc``.
    """

    def __init__(self, extract: ExtractSettings, tokens: AccessTokens | None) -> None:
        self._auth = extract.auth
        self._tokens = tokens
        self._headers = {name: value.get_secret_value() for name, value in extract.headers.items()}
        self._files = extract.header_files
        # What was read of the files last: one may be half-way through being replaced.
        self._read: dict[str, str] = {}

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """The request with all of it.

        Raises a :class:`~common.errors.SourceError` where there is no token, or no value for a
        header.
        """
        auth = self._auth
        for name, value in self._all_headers():
            request.headers[name] = value.encode().decode("latin-1")
        # Headers are sent as Latin-1, but Prometheus reads UTF-8.
        if token := self._bearer_token():
            request.headers["Authorization"] = f"Bearer {token}".encode().decode("latin-1")
        elif auth.username is not None:
            password = current_secret(auth.password_file, auth.password.get_secret_value())
            request = HTTPBasicAuth(auth.username.encode(), password.encode())(request)
        return request

    def renewed(self, request: requests.PreparedRequest) -> bool:
        """Whether another token may do where this request was refused with 401."""
        if self._tokens is None:
            return False
        self._tokens.refused(str(request.headers.get("Authorization")).removeprefix("Bearer "))
        return True

    def hidden(self, text: bytes) -> bytes:
        """``text`` without the values of headers that a server may have repeated in it."""
        for _, value in self._all_headers():
            if len(value) >= LEAST_SECRET_CHARS:
                text = text.replace(value.encode(), "…".encode())
        return text

    def _all_headers(self) -> Iterator[tuple[str, str]]:
        yield from self._headers.items()
        for name, path in self._files.items():
            try:
                self._read[name] = read_secret(path)
            except ValueError as error:
                if name not in self._read:
                    where = f"extract.header_files.{name}"
                    raise SourceRefused(f"was not asked: {where} {error}") from None
            yield name, self._read[name]

    def _bearer_token(self) -> str:
        if self._tokens is not None:
            return self._tokens.token()
        auth = self._auth
        return current_secret(auth.bearer_token_file, auth.bearer_token.get_secret_value())
