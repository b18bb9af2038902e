"""The address of a Redis: what a URL may say, and what it says of Sentinels.

``redis://``, ``rediss://`` and ``unix://`` as redis-py takes them, if need be with a user of Redis'
ACL (``redis://USER@HOST``); ``redis+sentinel://H1:P1,H2,H3/NAME/DB`` (``rediss+sentinel://``) asks
Sentinels for the master of that name. A password is in a file of its own, never in the URL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
SCHEMES = ("redis", "rediss", "unix", *SENTINEL_SCHEMES)
SENTINEL_PORT = 26379

_SENTINEL_FORM = "redis+sentinel://HOST1,HOST2:PORT,HOST3/NAME/DB"
_HOST = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\[\]:@,/\s]+)(?::([0-9]{1,5}))?")
_SECRET = ("pass", "secret", "token", "credential")


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """Sentinels as host and port, and the master that they are asked for."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    db: int
    username: str | None
    tls: bool


def is_tls(url: str) -> bool:
    """Whether the connection is encrypted."""
    return url.startswith("rediss")


def check_redis_url(url: str) -> None:
    """Raise :class:`ValueError` with one sentence, which shows nothing of the URL, if unusable."""
    scheme, found, rest = url.partition("://")
    if not found or scheme not in SCHEMES:
        wanted = " or ".join(f"{known}://" for known in SCHEMES)
        raise ValueError(f"must begin with {wanted}")
    if any(ord(char) <= 32 or ord(char) == 127 for char in url):
        raise ValueError("must not contain spaces or control characters")
    credentials, _, _ = rest.partition("/")[0].rpartition("@")
    query = rest.partition("?")[2].partition("#")[0]
    secret = any(word in name.lower() for name, _ in parse_qsl(query, True) for word in _SECRET)
    if ":" in credentials or secret:
        raise ValueError(
            "must not carry credentials: the password belongs in pipeline.redis_password_file"
        )
    if scheme in SENTINEL_SCHEMES:
        sentinels_of(url)
    else:
        _check_one_server(url)


def _check_one_server(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL: its host or port is malformed") from None
    if parts.scheme == "unix":
        return
    if not host:
        raise ValueError("must name a host")
    if not re.fullmatch(r"/?[0-9]{0,9}", parts.path):
        raise ValueError("its path must be the number of a database, as in redis://HOST:PORT/0")


def sentinels_of(url: str) -> SentinelAddress | None:
    """What a URL says of Sentinels; None if it is the address of one server.

    Raises :class:`ValueError` where it is neither.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SENTINEL_SCHEMES:
        return None
    credentials, _, address = rest.rpartition("@")
    hosts, *path = address.split("/")
    found = [_HOST.fullmatch(host) for host in hosts.split(",")]
    database = path[1] if len(path) > 1 and path[1] else "0"
    if (
        not all(found)
        or not 1 <= len(path) <= 2
        or not re.fullmatch(r"[A-Za-z0-9._-]+", path[0])
        or not re.fullmatch(r"[0-9]{1,9}", database)
    ):
        raise ValueError(f"must be of the form {_SENTINEL_FORM}")
    return SentinelAddress(
        tuple((one[1].strip("[]"), int(one[2] or SENTINEL_PORT)) for one in found if one),
        path[0],
        int(database),
        unquote(credentials) or None,
        is_tls(url),
    )
