"""The ledger of the pipeline as series: streams, ledger, windows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from common.state.backfills import Part
from common.state.keys import split_feed
from common.state.ledger import Audit
from common.state.ranges import length_ms
from common.state.windows import FeedStatus
from services.exporter.series import Page

# Beyond so many, somebody else's fields are in our hashes; a label must not grow without bound.
MAX_FEEDS = 1000
MAX_REASONS = 100
OTHER = "other"
_WORD = re.compile(r"[a-z0-9_]{1,64}")


def word(text: str) -> str:
    """``text`` if it can be one of our reasons or stages, else ``other``."""
    return text if _WORD.fullmatch(text) else OTHER


def publish_audit(telemetry: Page, audit: Audit) -> None:
    """Streams, back-pressure and ledger at one instant."""
    in_flight_bytes = audit.staged_bytes
    for name, depth in audit.streams.items():
        in_flight_bytes += depth.bytes
        telemetry.set("etl_stream_entries", depth.entries, stream=name)
        telemetry.set("etl_stream_samples", depth.samples, stream=name)
        telemetry.set("etl_stream_bytes", depth.bytes, stream=name)
        age_ms = audit.now_ms - depth.oldest_ms if depth.entries else 0
        telemetry.set("etl_stream_oldest_entry_age_seconds", max(0, age_ms) / 1000, stream=name)
        lost = sum(depth.lost_samples.values())
        telemetry.set("etl_stream_lost_samples", lost, stream=name)
        telemetry.set("etl_stream_unaccounted_entries", depth.unaccounted_entries, stream=name)
    telemetry.set("etl_staged_bytes", audit.staged_bytes)
    telemetry.set("etl_in_flight_bytes", in_flight_bytes)
    telemetry.set("etl_backpressure_active", float(audit.back_pressure))
    telemetry.set("etl_dead_letters_kept", audit.dead_letter_entries)
    telemetry.set("etl_ledger_imbalance_samples", audit.imbalance_samples)
    for feed in sorted(audit.accounts)[:MAX_FEEDS]:
        account = audit.accounts[feed]
        query, tier = split_feed(feed)
        dropped = account.dropped
        for name, samples in {
            "extracted": account.extracted,
            "loaded": account.loaded,
            "dropped": sum(dropped.values()),
            "dead_lettered": account.dead_lettered,
            "in_flight": account.in_flight,
        }.items():
            telemetry.set("etl_ledger_samples", samples, query=query, tier=tier, account=name)
        telemetry.set(
            "etl_ledger_query_imbalance_samples",
            account.imbalance_samples,
            query=query,
            tier=tier,
        )
        for reason, samples in _by_word(dropped).items():
            telemetry.set(
                "etl_ledger_dropped_samples", samples, query=query, tier=tier, reason=reason
            )


def publish_feeds(
    telemetry: Page, feeds: Mapping[str, FeedStatus], parts: Mapping[str, Sequence[Part]]
) -> None:
    """How far each query has come in each tier; ``parts`` are its backfills' by feed."""
    for name in sorted(feeds)[:MAX_FEEDS]:
        feed, backfills = feeds[name], parts.get(name, ())
        labels = {"query": feed.query, "tier": feed.tier}
        backlog_ms = sum(end - start for start, end in feed.backlog)
        telemetry.set("etl_windows_open", len(feed.open), **labels)
        telemetry.set("etl_windows_unsettled", len(feed.unsettled), **labels)
        telemetry.set("etl_backlog_seconds", backlog_ms / 1000, **labels)
        telemetry.set("etl_origin_timestamp_seconds", feed.origin_ms / 1000, **labels)
        telemetry.set("etl_planned_watermark_timestamp_seconds", feed.head_ms / 1000, **labels)
        telemetry.set("etl_watermark_timestamp_seconds", feed.watermark_ms / 1000, **labels)
        if feed.reconciled:
            # Before that, there may be older backlog that this Redis no longer keeps.
            telemetry.set(
                "etl_loaded_watermark_timestamp_seconds", feed.loaded_watermark_ms / 1000, **labels
            )
        if feed.lag_limit_ms:
            telemetry.set("etl_lag_limit_seconds", feed.lag_limit_ms / 1000, **labels)
        attempts = max([feed.attempts, *(part.attempts for part in backfills)])
        telemetry.set("etl_query_failures_in_a_row", attempts, **labels)
        remaining_ms = sum(length_ms(part.coming) for part in backfills)
        telemetry.set("etl_backfill_remaining_seconds", remaining_ms / 1000, **labels)
        telemetry.set("etl_query_empty_seconds", feed.empty_ms / 1000, **labels)
        deferred_ms = sum(end - start for start, end in feed.deferred)
        telemetry.set("etl_deferred_seconds", deferred_ms / 1000, **labels)
        telemetry.set("etl_gaps_declared", feed.gaps, **labels)


def _by_word(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts by reason, where what is no reason of ours, or one too many, is ``other``."""
    found: dict[str, int] = {}
    for text, count in sorted(counts.items()):
        reason = word(text) if len(found) < MAX_REASONS else OTHER
        found[reason] = found.get(reason, 0) + count
    return found
