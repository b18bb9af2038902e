"""Label values that are known before anything happens: their counters begin at 0.

A series that first appears with its first events already counted shows no increase: a rate would
never see these. What is not closed (types of errors of a handler, say) is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from common.runtime.metrics.spec import EXTRACTOR, LOADER, TRANSFORMER, VERIFIER, MetricSpec

_DROPPED = "etl_dropped_samples_total"
_DEAD = "etl_dead_letters_total"
_FALLBACKS = "etl_remote_read_fallbacks_total"

# Metric → label → values, whichever service exports it.
_VALUES: dict[str, dict[str, tuple[str, ...]]] = {
    "etl_circuit_changes_total": {"state": ("closed", "half_open", "open")},
    "etl_push_requests_total": {"status": ("204", "400", "415", "429", "503")},
    "etl_pushed_samples_total": {
        "outcome": (
            "committed",
            "late",
            "native_histogram",
            "stale_marker",
            "unplanned",
            "unselected",
        )
    },
    "etl_sink_failures_total": {"cause": ("busy", "failed", "server_error", "timeout")},
    "etl_sink_pauses_total": {"cause": ("capacity", "refused", "missing", "unexpected")},
    "etl_sink_posts_total": {
        "response": (
            "written",
            "points",
            "retention",
            "outside_window",
            "limit",
            "too_large",
            "unreadable",
            "capacity",
            "refused",
            "missing",
            "unexpected",
            "busy",
            "failed",
        )
    },
    "etl_verify_pieces_total": {"result": ("equal", "differs", "intact", "damaged")},
}
_SOURCE_ERRORS = (
    "BodyTooLong",
    "QueryRejected",
    "QueryTooLarge",
    "ResponseTooSlow",
    "SourceLacks",
    "SourceRefused",
    "SourceUnavailable",
)
# Service → all types of errors that its batches end in. Those of a transformer and a loader are
# defects of their handlers, whose types nobody knows.
_ERROR_TYPES: dict[str, tuple[str, ...]] = {
    EXTRACTOR: _SOURCE_ERRORS,
    VERIFIER: (*_SOURCE_ERRORS, "SinkError", "SinkSlow"),
}
# Those of common.source.remote_read.doubt.
_DOUBTS = (
    "refused",
    "no_answer",
    "not_streamed",
    "broken_off",
    "frame",
    "checksum",
    "chunk_type",
    "chunk",
    "labels",
    "order",
    "reconfigured",
)
# Why an entry becomes a dead letter before a stage works on it.
_WHOLE_ENTRY = ("payload_missing", "poison", "unknown_schema")
# (metric, service) → reasons.
_REASONS: dict[tuple[str, str], tuple[str, ...]] = {
    (_DROPPED, EXTRACTOR): ("native_histogram", "stale_marker"),
    (_DROPPED, TRANSFORMER): (
        "relabel_dropped",
        "not_whitelisted",
        "name_conflict",
        "name_missing",
        "series_key_too_long",
        "nan",
        "inf",
        "timestamp_not_positive",
        "timestamp_in_future",
        "duplicate",
        "collision",
        "rolled_up",
        "payload_lost",
    ),
    (_DROPPED, LOADER): ("beyond_retention", "payload_lost"),
    (_DEAD, LOADER): (
        *_WHOLE_ENTRY,
        "beyond_retention",
        "corrupt",
        "limit",
        "outside_write_window",
        "rejected",
        "sink_failure",
        "too_large",
    ),
    (_DEAD, TRANSFORMER): (
        *_WHOLE_ENTRY,
        "count_mismatch",
        "not_an_integer",
        "unaccounted",
        "undecodable",
        "unreadable_labels",
    ),
    (_FALLBACKS, EXTRACTOR): _DOUBTS,
    (_FALLBACKS, VERIFIER): _DOUBTS,
}


def known_labels(
    spec: MetricSpec, service: str, feed: Mapping[str, str] | None = None
) -> Iterator[dict[str, str]]:
    """Label sets of a service's counter that are known at its start; none if any label is open.

    ``feed``: query and tier, where they are among the labels.
    """
    if spec.kind != "counter" or not spec.labels:
        return
    known = dict(_VALUES.get(spec.name, {}))
    known["stage"] = (service,)
    known["reason"] = _REASONS.get((spec.name, service), ())
    known["error_type"] = _ERROR_TYPES.get(service, ())
    known |= {label: (value,) for label, value in (feed or {}).items()}
    for values in product(*(known.get(label, ()) for label in spec.labels)):
        yield dict(zip(spec.labels, values, strict=True))
