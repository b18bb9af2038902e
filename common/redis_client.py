"""Connections to Redis, set up the one way that the pipeline relies on."""

from __future__ import annotations

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# XREADGROUP must block for less than this, or a quiet stream looks like a lost server.
SOCKET_TIMEOUT_SECONDS = 5.0
BLOCK_SECONDS = 1.0


def connect(
    url: str,
    password: str | None = None,
    *,
    socket_timeout_seconds: float = SOCKET_TIMEOUT_SECONDS,
    health_check_interval_seconds: int = 30,
) -> Redis:
    """A client that answers bytes and never repeats a command by itself.

    Whether a script that got no answer ran is for the caller to find out: a blind second attempt
    would report a settled entry as refused.
    """
    return Redis.from_url(
        url,
        password=password,
        decode_responses=False,
        protocol=2,  # one shape of replies, on every server version
        socket_timeout=socket_timeout_seconds,
        socket_connect_timeout=socket_timeout_seconds,
        health_check_interval=health_check_interval_seconds,
        retry=Retry(NoBackoff(), 0),
    )
