"""What a source's refusals mean for us: one of the project's source errors for each response.

Statuses and error types are those of ``web/api/v1/api.go`` of Prometheus 2.x and 3.x, and of
``pkg/api/error/error.go`` of Mimir. Texts say where they come from.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from common.errors import (
    QueryRejected,
    QueryTooLarge,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from common.runtime.retry_after import retry_after_seconds

# A smaller time range helps with these, whatever status and type they come with.
_TOO_LARGE = re.compile(
    "|".join(
        (
            # Prometheus: promql/engine.go, web/api/v1/api.go (Thanos and Mimir have the same), and
            # the server of remote_read in storage/remote: codec.go, chunked.go.
            "too many samples",
            "exceeded maximum resolution",
            "exceeded sample limit",
            "message size exceeded the limit",
            # VictoriaMetrics: app/vmselect/netstorage/netstorage.go, app/vmselect/promql/eval.go,
            # exec.go and aggr.go, lib/storage/index_db.go.
            r"-search\.max",
            "too many points",
            "not enough memory for processing",
            "timeout exceeded",
            # Mimir: pkg/util/globalerror/user.go.
            "err-mimir-max-(?:estimated-)?(?:chunks|chunks-bytes|series|memory-consumption)-per-query",
            "err-mimir-max-(?:total-)?query-length",
            # Mimir and Cortex: pkg/util/limiter/query_limiter.go; also Thanos' front for queries,
            # internal/cortex/util/validation/validate.go.
            "the query exceeded the (?:maximum|aggregated)",
            "the query hit the (?:max number|aggregated)",
            "query time range exceeds the limit",
            "query response size exceeds limit",
            # Thanos: pkg/store/bucket.go, pkg/store/limiter.go.
            "exceeded (?:series|chunks|samples|bytes) limit",
            r"limit \S+ violated",
            # gRPC between the parts of any of them.
            "message larger than max",
            # The query's own time-out, met while its series were being read: Prometheus calls that
            # an execution error.
            "deadline exceeded",
        )
    )
)
# Limits on something else than the samples that a query takes; some of them name a flag as above.
_BUSY = re.compile(
    "|".join(
        (
            "query queue",  # Prometheus: promql/engine.go
            "couldn't start executing the request",  # VictoriaMetrics: app/vmselect/main.go
            "timeout exceeded before start",  # VictoriaMetrics: app/vmselect/netstorage
            "err-mimir-ingester-max-inflight",
            "err-mimir-tenant-max-request-rate",
            "err-mimir-query-limited",
        )
    )
)
# Thanos: pkg/store/proxy_merge.go, where partial responses are refused. The time-out may be the
# absence of a store, which takes no longer for half of the range, or a range that is too large.
_TIMED_OUT_BEHIND = re.compile(r"(?:fetch|receive) (?:series|any data)[\s\S]*deadline exceeded")
_TEXT_TOO_LONG = re.compile(
    # VictoriaMetrics: app/vmselect/prometheus/prometheus.go.
    r"-search\.maxQueryLen\b|err-mimir-max-query-expression-size-bytes"
)
# Errors that speak of the storage behind the query, not of the query.
_STORAGE_FAILURES = re.compile(
    "expanding series:|context canceled"
    # Mimir: pkg/util/globalerror/user.go.
    "|err-mimir-store-consistency-check-failed|err-mimir-bucket-index-too-old"
)
_UNAVAILABLE_TYPES = ("timeout", "canceled", "internal", "unavailable", "too_many_requests")
# Remarks of the query engine about the expression: certain to come again, and not about
# completeness (util/annotations/annotations.go of Prometheus 3).
_REMARKS = ("PromQL warning", "PromQL info")


def snippet(body: bytes | str, limit: int = 160) -> str:
    """The beginning of a response, fit for one line of a message."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    return repr(text[:limit]) + ("…" if len(text) > limit else "")


def reported_error(
    error_type: str, text: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> SourceError:
    """The error for a response in Prometheus' own form, ``{"status": "error", …}``."""
    message = f"answered {error_type[:100] or 'error'}: {text[:400] or 'no reason given'}"
    if _BUSY.search(text):
        return SourceUnavailable(message, retry_after(headers or {}))
    if _TIMED_OUT_BEHIND.search(text):
        return SourceUnavailable(message, retry_after(headers or {}), may_be_too_large=True)
    if _TEXT_TOO_LONG.search(text):
        return QueryRejected(message)
    if error_type in ("timeout", "too_large_entry") or _TOO_LARGE.search(text):
        return QueryTooLarge(message)
    if status >= 500 or error_type in _UNAVAILABLE_TYPES or _STORAGE_FAILURES.search(text):
        return SourceUnavailable(message, retry_after(headers or {}))
    return QueryRejected(message)


def remarks_of(envelope: Mapping[str, Any]) -> list[str]:
    """What the query engine remarks about the expression of a successful response.

    ``envelope`` holds the members of the response; of its data, those beside the result suffice.
    Raises :class:`QueryTooLarge` or :class:`SourceUnavailable` where it says that some of it is
    missing.
    """
    texts = _warnings(envelope)
    if isinstance(data := envelope.get("data"), Mapping):
        # Where Thanos' documentation has them (docs/components/query.md).
        texts += _warnings(data)
    warnings = "; ".join(text for text in texts if not text.startswith(_REMARKS))
    if warnings:
        message = f"answered incompletely, with warnings: {warnings}"
        # A part that was too large for a server behind this one. A time-out may be one's absence.
        if _TOO_LARGE.search(warnings) and "deadline exceeded" not in warnings:
            raise QueryTooLarge(message)
        timed_out = _TIMED_OUT_BEHIND.search(warnings) is not None
        raise SourceUnavailable(message, may_be_too_large=timed_out)
    # VictoriaMetrics' way to say that some of its storage did not answer.
    if envelope.get("isPartial"):
        raise SourceUnavailable("answered incompletely (isPartial)")
    return texts


def _warnings(members: Mapping[str, Any]) -> list[str]:
    texts = members.get("warnings") or []
    return [str(text) for text in (texts if isinstance(texts, list) else [texts])]


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
            "(extract.prometheus_url); Mimir and Cortex have it under a path such as /prometheus"
        )
    if status == 414:
        return SourceRefused(
            f"answered {status}: the query is too long for an address, and what stands there "
            "refuses it as a form (POST)"
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
    # pkg/tenant of Mimir and Cortex.
    if "no org id" in text:
        return SourceRefused(
            f"answered {status} with {quoted}: it wants a tenant (extract.headers or "
            "extract.header_files, X-Scope-OrgID)"
        )
    return SourceRefused(
        f"answered {status} with {quoted}: it does not accept our credentials (extract.auth)"
    )


def plain_error(status: int, body: bytes, headers: Mapping[str, str]) -> SourceError:
    """The error for a response that is not in Prometheus' own form.

    The fronts for queries of Thanos and Cortex refuse with a status and a text. Of others' texts
    nothing is known, so nothing but a limit is taken from them.
    """
    text = body.decode("utf-8", "replace")
    timed_out = _TIMED_OUT_BEHIND.search(text) is not None
    found = None if timed_out or _BUSY.search(text) else _TOO_LARGE.search(text)
    # A time-out that a proxy speaks of says nothing of the query.
    if found and found[0] not in ("deadline exceeded", "timeout exceeded"):
        return QueryTooLarge(f"answered {status} with {snippet(body)}")
    message = f"answered {status} with {snippet(body)}"
    return SourceUnavailable(message, retry_after(headers), may_be_too_large=timed_out)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait that the server requests, or None."""
    return retry_after_seconds(headers.get("Retry-After"), headers.get("Date"), time.time())
