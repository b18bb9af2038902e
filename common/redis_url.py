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

_AS_IN = "as in redis+sentinel://HOST1,HOST2:PORT,HOST3/NAME/DB"
_HOST = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\[\]:@,/?#\s]+)(?::(.*))?")
_SECRET = ("pass", "secret", "token", "credential")
_YES_OR_NO = "(?i:0|1|t|f|true|false|y|n|yes|no)"
_POSITIVE = r"(?=.*[1-9])[0-9]{1,9}(\.[0-9]{1,9})?"
# What redis-py takes from a URL and the pipeline can live with, and what it may be. With any other
# no connection is made, or one that breaks what is relied on (protocol, decode_responses).
_PARAMETERS = {
    "db": "[0-9]{1,9}",
    "client_name": "[!-~]+",
    "health_check_interval": "[0-9]{1,9}",
    "max_connections": "[1-9][0-9]{0,8}",
    "socket_connect_timeout": _POSITIVE,
    "socket_keepalive": _YES_OR_NO,
    "socket_timeout": _POSITIVE,
}
_TLS_PARAMETERS = {
    "ssl_ca_certs": ".+",
    "ssl_ca_path": ".+",
    "ssl_cert_reqs": "none|optional|required",
    "ssl_certfile": ".+",
    "ssl_check_hostname": _YES_OR_NO,
    "ssl_keyfile": ".+",
}


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


def asks_sentinels(url: str) -> bool:
    """Whether the URL names Sentinels, and not one server."""
    return url.partition("://")[0] in SENTINEL_SCHEMES


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
    if parts.scheme != "unix" and not host:
        raise ValueError("must name a host")
    if parts.scheme != "unix" and not re.fullmatch(r"/?[0-9]{0,9}", parts.path):
        raise ValueError("its path must be the number of a database, as in redis://HOST:PORT/0")
    known = _PARAMETERS | (_TLS_PARAMETERS if is_tls(url) else {})
    for name, value in parse_qsl(parts.query):  # one without a value counts for nothing
        if name not in known:
            raise ValueError(f"has a parameter that is none of {', '.join(sorted(known))}")
        if not re.fullmatch(known[name], value):
            raise ValueError(f"has a parameter {name} whose value cannot be used")


def sentinels_of(url: str) -> SentinelAddress | None:
    """What a URL says of Sentinels; None if it is the address of one server.

    Raises :class:`ValueError` where it is neither.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SENTINEL_SCHEMES:
        return None
    credentials, _, address = rest.rpartition("@")
    hosts, *path = address.split("/")
    if len(path) > 2:
        raise ValueError(f"must end with the number of a database, {_AS_IN}")
    if any(char in address for char in "?#"):
        raise ValueError(f"must not carry a query or a fragment where it names Sentinels, {_AS_IN}")
    sentinels = tuple(_sentinel(host) for host in hosts.split(","))
    name, database = [*path, "", ""][:2]
    if not name:
        raise ValueError(f"must name the master that the Sentinels are asked for, {_AS_IN}")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise ValueError(
            "names a master that no Sentinel can know: letters, digits, dots, dashes and "
            "underscores may stand there"
        )
    if not re.fullmatch(r"[0-9]{0,9}", database):
        raise ValueError(f"must end with the number of a database, {_AS_IN}")
    return SentinelAddress(
        sentinels, name, int(database or 0), unquote(credentials) or None, is_tls(url)
    )


def _sentinel(text: str) -> tuple[str, int]:
    if not text.partition(":")[0]:
        raise ValueError(f"must name the hosts of the Sentinels, {_AS_IN}")
    found = _HOST.fullmatch(text)
    if found is None:
        raise ValueError(f"names a Sentinel that is neither HOST nor HOST:PORT, {_AS_IN}")
    port = found[2]
    if port is not None and not (re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= 65_535):
        raise ValueError("names a Sentinel whose port is no number from 1 to 65535")
    return found[1].strip("[]"), int(port or SENTINEL_PORT)
