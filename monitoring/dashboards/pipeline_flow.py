"""Rows of ``etl-pipeline`` about samples on their way: flow, backlog, windows."""

from __future__ import annotations

from monitoring.dashboards.spec import (
    BYTES,
    CHOSEN,
    COUNT,
    NONE,
    PER_SECOND,
    RATE,
    SECONDS,
    SHARE,
    PanelSpec,
    Query,
    counted,
    quiet,
    rates,
)
from monitoring.model import Limit
from monitoring.thresholds import EXTRACTOR, REDIS, Thresholds


def flow_panels() -> tuple[PanelSpec, ...]:
    """How much passes through the stages."""
    return (
        PanelSpec(
            "Samples through the stages",
            "lines",
            "The same samples, three times: the lines should lie on each other.",
            (
                Query(f"sum(rate(etl_extracted_samples_total{{{CHOSEN}}}{RATE}))", "extracted"),
                Query(
                    f"sum by (stage) (rate(etl_settled_samples_total{{{CHOSEN}}}{RATE}))",
                    "settled by {{stage}}",
                ),
                Query(f"sum(rate(etl_loaded_samples_total{{{CHOSEN}}}{RATE}))", "loaded"),
            ),
            PER_SECOND,
            width=12,
        ),
        PanelSpec(
            "Dropped samples",
            "lines",
            "Samples that are not loaded on purpose, by reason; without what rollups stand for.",
            (
                Query(
                    rates("etl_dropped_samples_total", CHOSEN, "reason", but='reason!="rolled_up"'),
                    "{{reason}}",
                ),
            ),
            PER_SECOND,
            width=12,
            stacked=True,
        ),
        PanelSpec(
            "Pushed samples",
            "lines",
            "What Prometheus pushes (extract.push), by what became of it; late is what is left to"
            " the pull.",
            (Query(rates("etl_pushed_samples_total", CHOSEN, "outcome"), "{{outcome}}"),),
            PER_SECOND,
            stacked=True,
        ),
        PanelSpec(
            "Batches",
            "lines",
            "Windows extracted, entries transformed, groups loaded.",
            (Query(f"sum by (job) (rate(etl_files_total{{{CHOSEN}}}{RATE}))", "{{job}}"),),
            PER_SECOND,
        ),
        PanelSpec(
            "Entries retried and claimed",
            "lines",
            "Entries retried, or claimed from silent workers; lost leases, refused settlements,"
            " defects.",
            tuple(
                Query(
                    f"sum by (stage) (rate(etl_{name}_total{{{CHOSEN}}}{RATE}))",
                    f"{{{{stage}}}} {shown}",
                )
                for name, shown in (
                    ("entries_retried", "retried"),
                    ("entries_claimed", "claimed"),
                    ("leases_lost", "leases lost"),
                    ("settlements_refused", "settlements refused"),
                    ("handler_failures", "defects"),
                )
            ),
            PER_SECOND,
        ),
    )


def backlog_panels(t: Thresholds) -> tuple[PanelSpec, ...]:
    """What waits, and whether extraction is paused for it."""
    return (
        PanelSpec(
            "Backlog",
            "lines",
            "Time that is planned and not yet cut into windows, and what of it is deferred: no step"
            " of it could be extracted. Beside it what backfills are still to extract.",
            (
                Query(f"etl_backlog_seconds{{{REDIS}}}", "{{query}} {{tier}}"),
                Query(f"etl_deferred_seconds{{{REDIS}}}", "{{query}} {{tier}} deferred"),
                Query(f"etl_backfill_remaining_seconds{{{REDIS}}}", "{{query}} {{tier}} backfill"),
            ),
            SECONDS,
            limit=Limit(">", t.backlog_level_seconds),
        ),
        PanelSpec(
            "Oldest entry",
            "lines",
            "How long the oldest entry of each stream has waited.",
            (
                Query(
                    f"max by (stream) (etl_stream_oldest_entry_age_seconds{{{REDIS}}})",
                    "{{stream}}",
                ),
            ),
            SECONDS,
            limit_of="EtlOldestEntryTooOld",
        ),
        PanelSpec(
            "Bytes in flight",
            "lines",
            "In the streams and staged beside them; extraction pauses at"
            " pipeline.high_water_bytes.",
            (
                Query(f"sum by (stream) (etl_stream_bytes{{{REDIS}}})", "{{stream}}"),
                Query(f"max(etl_staged_bytes{{{REDIS}}})", "staged"),
                Query(f"max(etl_in_flight_bytes{{{REDIS}}})", "all"),
            ),
            BYTES,
        ),
        PanelSpec(
            "Back-pressure",
            "timeline",
            "Whether extraction is paused because too much is in flight.",
            (Query(f"max(etl_backpressure_active{{{REDIS}}})", "extraction"),),
            NONE,
            values={0: ("runs", "green"), 1: ("paused", "orange")},
        ),
        PanelSpec(
            "Entries in the streams",
            "lines",
            "Entries in all, those that workers have, and those that wait for a retry.",
            (
                Query(f"sum by (stream) (etl_stream_entries{{{REDIS}}})", "{{stream}}"),
                Query(
                    f"sum by (stream) (etl_stream_pending_entries{{{REDIS}}})",
                    "{{stream}} pending",
                ),
                Query(
                    f"sum by (stream) (etl_stream_delayed_entries{{{REDIS}}})",
                    "{{stream}} delayed",
                ),
            ),
            COUNT,
        ),
    )


def window_panels() -> tuple[PanelSpec, ...]:
    """How far each query is, and how its windows fare."""
    feed = "{{query}} {{tier}}"
    return (
        PanelSpec(
            "Lag of extraction and loading",
            "lines",
            "How far the watermarks are behind: planned, extracted, loaded. Rollups are planned"
            " when a whole window has settled, an hour or more at once.",
            tuple(
                Query(
                    f"max by (query, tier) (time() - etl_{name}_timestamp_seconds{{{REDIS}}})",
                    f"{feed} {shown}",
                )
                for name, shown in (
                    ("planned_watermark", "planned"),
                    ("watermark", "extracted"),
                    ("loaded_watermark", "loaded"),
                )
            ),
            SECONDS,
            width=12,
        ),
        PanelSpec(
            "Windows open and unsettled",
            "lines",
            "Cut and not yet committed; committed with entries still on their way.",
            (
                Query(f"max by (query, tier) (etl_windows_open{{{REDIS}}})", f"{feed} open"),
                Query(
                    f"max by (query, tier) (etl_windows_unsettled{{{REDIS}}})",
                    f"{feed} unsettled",
                ),
            ),
            COUNT,
            width=12,
        ),
        PanelSpec(
            "Windows",
            "lines",
            "What becomes of windows.",
            tuple(
                Query(f"sum(rate(etl_{name}_total{{{CHOSEN}}}{RATE}))", shown)
                for name, shown in (
                    ("windows_committed", "committed"),
                    ("windows_split", "split"),
                    ("windows_retried", "retried"),
                    ("windows_reopened", "opened again"),
                    ("window_commits_refused", "refused"),
                )
            ),
            PER_SECOND,
        ),
        PanelSpec(
            "Failed attempts in a row",
            "lines",
            "Since a query last succeeded, or since what is deferred of it did.",
            (Query(f"max by (query, tier) (etl_query_failures_in_a_row{{{REDIS}}})", feed),),
            COUNT,
            limit_of="EtlWindowFailing",
        ),
        PanelSpec(
            "Failed attempts by type",
            "lines",
            "Why windows could not be extracted.",
            (
                Query(
                    rates(
                        "etl_query_failures_total",
                        f'{EXTRACTOR}, instance=~"$instance"',
                        "query",
                        "error_type",
                    ),
                    "{{query}} {{error_type}}",
                ),
            ),
            PER_SECOND,
        ),
        PanelSpec(
            "Remote reads read again",
            "lines",
            "Windows that were read by JSON, as their answer by remote read could not be trusted.",
            (Query(rates("etl_remote_read_fallbacks_total", CHOSEN, "reason"), "{{reason}}"),),
            PER_SECOND,
        ),
        PanelSpec(
            "Clock differences",
            "lines",
            "Seconds that Prometheus' clock is ahead of others: the most of the last minute.",
            (
                Query(
                    f"max by (clock) (etl_source_clock_difference_seconds{{{EXTRACTOR}}})",
                    "{{clock}}",
                ),
            ),
            SECONDS,
            limit_of="EtlClocksDiffer",
        ),
        PanelSpec(
            "Servers at Prometheus' address",
            "lines",
            "With different history, answering in turn; more than 1 is a balancer.",
            (Query(f"max(etl_source_servers{{{EXTRACTOR}}})", "servers"),),
            COUNT,
            limit_of="EtlSourceAlternates",
        ),
        PanelSpec(
            "Replicas that lack samples",
            "lines",
            "Share of the newest samples that another replica of the source has; 1: no answer.",
            (
                Query(
                    quiet(
                        f"max by (source, replica) (etl_replica_lacks_ratio{{{EXTRACTOR}}})",
                        EXTRACTOR,
                        "replica",
                    ),
                    "{{source}} {{replica}}",
                ),
            ),
            SHARE,
            limit_of="EtlReplicaLacking",
        ),
        PanelSpec(
            "Windows by replica",
            "lines",
            "Which replica of the source windows were read from.",
            (
                Query(
                    rates("etl_replica_windows_total", EXTRACTOR, "source", "replica"),
                    "{{source}} {{replica}}",
                ),
            ),
            PER_SECOND,
        ),
        PanelSpec(
            "Settling time missing",
            "lines",
            "By how much `settle_seconds` is shorter than Prometheus' intervals need.",
            (Query(f"max by (query, tier) (etl_settle_missing_seconds{{{EXTRACTOR}}})", feed),),
            SECONDS,
            limit_of="EtlSettleTooShort",
        ),
        PanelSpec(
            "Queries without series",
            "lines",
            "How long a query has matched no series, up to the newest time that is extracted.",
            (Query(f"max by (query, tier) (etl_query_empty_seconds{{{REDIS}}})", feed),),
            SECONDS,
            limit_of="EtlQueryEmpty",
        ),
        PanelSpec(
            "Recounts given up",
            "stat",
            "Committed ranges that could not be compared with Prometheus, in the chosen time.",
            (Query(counted("etl_rechecks_abandoned_total", EXTRACTOR, "query", "tier"), feed),),
            COUNT,
            limit_of="EtlRecheckAbandoned",
        ),
        PanelSpec(
            "Gaps",
            "lines",
            "Declared gaps that are remembered; `etlctl status` shows their bounds.",
            (Query(f"max by (query, tier) (etl_gaps_declared{{{REDIS}}})", feed),),
            COUNT,
        ),
    )
