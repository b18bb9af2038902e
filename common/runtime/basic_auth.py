"""HTTP basic authentication of one user (RFC 7617)."""

from __future__ import annotations

import base64
import hashlib
import hmac

# The user that the password of a service's /metrics goes with.
METRICS_USER = "prometheus"
CHALLENGE = 'Basic realm="metrics", charset="UTF-8"'


class BasicAuth:
    """Compares credentials in constant time: digests, so that not even lengths show."""

    def __init__(self, username: str, password: str) -> None:
        self._username = _digest(username)
        self._password = _digest(password)

    def permits(self, header: str | None) -> bool:
        """Whether an ``Authorization`` header names our user and password."""
        scheme, _, encoded = (header or "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
        except ValueError:  # not base64, not ASCII, not UTF-8
            return False
        username, colon, password = decoded.partition(":")
        # Both are always compared: an early response would show which one was right.
        same_user = hmac.compare_digest(_digest(username), self._username)
        same_password = hmac.compare_digest(_digest(password), self._password)
        return same_user and same_password and bool(colon)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()
