"""Connections to Redis, set up the one way that the pipeline relies on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:  # etl-metrics has no memory to spare for what the settings are made with
    from common.config import PipelineSettings

# XREADGROUP must block for less than this, or a quiet stream looks like a lost server.
SOCKET_TIMEOUT_SECONDS = 5.0
BLOCK_SECONDS = 1.0


def connect(
    url: str,
    password: str | None = None,
    *,
    ca_file: str | None = None,
    socket_timeout_seconds: float = SOCKET_TIMEOUT_SECONDS,
) -> Redis:
    """A client that returns bytes and never repeats a command by itself; nothing is sent yet.

    ``ca_file`` holds, beside the system's, authorities that may vouch for a server behind
    ``rediss://``, whose certificate must be for the host in ``url``.

    Whether a script that got no reply ran is for the caller to find out: a blind second attempt
    would report a settled entry as refused.
    """
    tls = {} if ca_file is None else {"ssl_ca_certs": ca_file, "ssl_check_hostname": True}
    return Redis.from_url(
        url,
        password=password,
        decode_responses=False,
        protocol=2,  # one shape of replies, on every server version
        socket_timeout=socket_timeout_seconds,
        socket_connect_timeout=socket_timeout_seconds,
        health_check_interval=30,
        retry=Retry(NoBackoff(), 0),
        **tls,
    )


def connect_as_set(pipeline: PipelineSettings) -> Redis:
    """A client of the Redis that the settings name."""
    password = pipeline.redis_password.get_secret_value() or None
    return connect(pipeline.redis_url, password, ca_file=pipeline.redis_ca_file)
