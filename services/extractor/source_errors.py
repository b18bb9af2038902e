"""What Prometheus' refusals mean for us: one of the project's source errors for each response.

Statuses and error types are those of ``web/api/v1/api.go`` of Prometheus 2.x and 3.x; the texts
that mark a query as too large also cover Thanos, Mimir and VictoriaMetrics.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from common.errors import (
    QueryRejected,
    QueryTooLarge,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from common.runtime.retry_after import retry_after_seconds

# A smaller time range helps with these, whatever status and type they come with.
_TOO_LARGE = (
    "too many samples",
    "too many points",
    "exceeded maximum resolution",
    "-search.max",
    "exceeds the limit",
    "exceeded the maximum",
    # The query's own time-out, met while its series were being read: Prometheus calls that an
    # execution error.
    "context deadline exceeded",
)
# Execution errors that speak of the storage behind the query, not of the query.
_STORAGE_FAILURES = ("expanding series:", "context canceled")


def snippet(body: bytes | str, limit: int = 160) -> str:
    """The beginning of a response, fit for one line of a message."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    return repr(text[:limit]) + ("…" if len(text) > limit else "")


def reported_error(
    error_type: str, text: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> SourceError:
    """The error for a response in Prometheus' own form, ``{"status": "error", …}``."""
    message = f"answered {error_type[:100] or 'error'}: {text[:400] or 'no reason given'}"
    if any(mark in text for mark in _TOO_LARGE):
        return QueryTooLarge(message)
    # A query that waited too long for others need not be too large itself.
    if error_type == "timeout" and "query queue" not in text:
        return QueryTooLarge(message)
    if (
        status >= 500
        or error_type in ("timeout", "canceled", "internal", "unavailable")
        or any(mark in text for mark in _STORAGE_FAILURES)
    ):
        return SourceUnavailable(message, retry_after(headers or {}))
    return QueryRejected(message)


def status_error(status: int, headers: Mapping[str, str]) -> SourceError | None:
    """The error that a status alone stands for, or None where the body has the say."""
    if 300 <= status < 400:
        # Following it could hand our credentials to another host.
        target = headers.get("Location", "nowhere")
        return SourceRefused(
            f"answered {status}, a redirect to {snippet(target)}: "
            "set extract.prometheus_url to the final address"
        )
    if status in (404, 405, 410):
        return SourceRefused(
            f"answered {status}: there is no Prometheus query API at this address "
            "(extract.prometheus_url)"
        )
    if status == 429:
        return SourceUnavailable(f"answered {status}: too many requests", retry_after(headers))
    return None


def refusal(status: int, body: bytes, authorization: str) -> SourceError:
    """The error for a 401, 403 or 407, in the server's own words: it need not be our credentials.

    ``authorization`` is the header that we sent; a server may repeat what is in it.
    """
    _, _, secret = authorization.partition(" ")
    text = body.decode("utf-8", "replace").strip()
    quoted = snippet(text.replace(secret, "…") if secret else text, 300) if text else "no reason"
    return SourceRefused(
        f"answered {status} with {quoted}: it does not accept our credentials (extract.auth)"
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait that the server requests, or None."""
    return retry_after_seconds(headers.get("Retry-After"), headers.get("Date"), time.time())
