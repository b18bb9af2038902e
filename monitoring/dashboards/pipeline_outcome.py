"""Rows of ``etl-pipeline`` about where samples end: dead letters, ledger, sink."""

from __future__ import annotations

from monitoring.dashboards.spec import (
    BYTES_PER_SECOND,
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
from monitoring.thresholds import REDIS, STAGE_JOBS

LOADER_JOB = 'job="loader"'
_LOADERS = f'{LOADER_JOB}, instance=~"$instance"'


def ledger_panels() -> tuple[PanelSpec, ...]:
    """Whether every sample is accounted for."""
    return (
        PanelSpec(
            "Dead letters",
            "lines",
            "Dead letters that are kept, by stage and reason.",
            (
                Query(f"max(etl_dead_letters_kept{{{REDIS}}})", "all"),
                Query("max(etl_dead_letters_max)", "cap"),
                Query(
                    f"sum by (stage, reason) (etl_dead_letter_entries{{{REDIS}}})",
                    "{{stage}} {{reason}}",
                ),
            ),
            COUNT,
        ),
        PanelSpec(
            "Dead letters written",
            "lines",
            "How fast dead letters are written, by stage and reason.",
            (
                Query(
                    rates("etl_dead_letters_total", CHOSEN, "stage", "reason"),
                    "{{stage}} {{reason}}",
                ),
            ),
            PER_SECOND,
        ),
        PanelSpec(
            "Deleted pending entries",
            "stat",
            "Entries that somebody deleted while a worker had them, in the chosen time.",
            (
                Query(
                    counted("etl_deleted_pending_entries_total", STAGE_JOBS, "stage"), "{{stage}}"
                ),
            ),
            COUNT,
            limit_of="EtlPendingEntriesDeleted",
        ),
        PanelSpec(
            "Ledger",
            "lines",
            "extracted = loaded + dropped + dead_lettered + in_flight, in samples.",
            (Query(f"sum by (account) (etl_ledger_samples{{{REDIS}}})", "{{account}}"),),
            COUNT,
        ),
        PanelSpec(
            "Lost and unaccounted",
            "lines",
            "Samples that the ledger counts but whose entry or payload does not exist; entries that"
            " the ledger does not know.",
            (
                Query(
                    f"sum by (stream) (etl_stream_lost_samples{{{REDIS}}})",
                    "{{stream}} samples lost",
                ),
                Query(
                    f"sum by (stream) (etl_stream_unaccounted_entries{{{REDIS}}})",
                    "{{stream}} entries unaccounted",
                ),
            ),
            COUNT,
        ),
    )


def sink_panels() -> tuple[PanelSpec, ...]:
    """How InfluxDB responds, and what the loader does about it."""
    return (
        PanelSpec(
            "Sink responses",
            "lines",
            "Posts by InfluxDB's response.",
            (Query(rates("etl_sink_posts_total", _LOADERS, "response"), "{{response}}"),),
            PER_SECOND,
            width=6,
        ),
        PanelSpec(
            "Post duration",
            "lines",
            "Half and nineteen of twenty posts are quicker.",
            tuple(
                Query(
                    f"histogram_quantile({quantile}, sum by (le)"
                    f" (rate(etl_sink_post_duration_seconds_bucket{{{CHOSEN}}}{RATE})))",
                    f"p{round(quantile * 100)}",
                )
                for quantile in (0.5, 0.95)
            ),
            SECONDS,
            width=6,
        ),
        PanelSpec(
            "Circuit and pause",
            "timeline",
            "The circuit breaker (0 closed, 1 half open, 2 open); whether the loader is paused.",
            (
                Query(f"max by (instance) (etl_circuit_state{{{CHOSEN}}})", "circuit {{instance}}"),
                Query(f"max by (instance) (etl_sink_paused{{{CHOSEN}}}) * 3", "pause {{instance}}"),
            ),
            NONE,
            width=6,
            values={
                0: ("works", "green"),
                1: ("tries", "yellow"),
                2: ("open", "red"),
                3: ("paused", "purple"),
            },
        ),
        PanelSpec(
            "Sink failures and pauses",
            "lines",
            "Posts that are retried and pauses, by cause; waits because of Retry-After; times"
            " that another URL of the sink was taken; points that a limit of the sink keeps out.",
            (
                Query(rates("etl_sink_failures_total", _LOADERS, "cause"), "failed: {{cause}}"),
                Query(rates("etl_sink_pauses_total", _LOADERS, "cause"), "paused: {{cause}}"),
                Query(f"sum(rate(etl_sink_waits_total{{{CHOSEN}}}{RATE}))", "Retry-After"),
                Query(f"sum(rate(etl_sink_url_changes_total{{{CHOSEN}}}{RATE}))", "another URL"),
                Query(
                    f"sum(rate(etl_sink_limited_lines_total{{{CHOSEN}}}{RATE}))",
                    "points over a limit",
                ),
            ),
            PER_SECOND,
            width=6,
        ),
    )


def sink_detail_panels() -> tuple[PanelSpec, ...]:
    """What is seldom asked of the sink."""
    return (
        PanelSpec(
            "Posted bytes",
            "lines",
            "Compressed bytes that were posted.",
            (Query(f"sum(rate(etl_sink_posted_bytes_total{{{CHOSEN}}}{RATE}))", "posted"),),
            BYTES_PER_SECOND,
        ),
        PanelSpec(
            "Retention unknown",
            "lines",
            "Tiers of which InfluxDB 3 does not say how long it keeps points (1), and whether"
            " load.tiers does.",
            (
                Query(
                    quiet(
                        "label_join(\n  max by (tier, configured)"
                        f" (etl_sink_retention_unknown{{{CHOSEN}}}),\n"
                        '  "tier", ", configured: ", "tier", "configured"\n)',
                        LOADER_JOB,
                        "tier",
                    ),
                    "{{tier}}",
                ),
            ),
            COUNT,
            limit_of="EtlSinkRetentionUnknown",
        ),
        PanelSpec(
            "Seals",
            "lines",
            "Seals of windows that wait to be written beside the data.",
            (Query(f"max(etl_seals_due{{{REDIS}}})", "wait"),),
            COUNT,
        ),
        PanelSpec(
            "Seals written",
            "lines",
            "Seals that were written, and windows of which the sink was told that they have none.",
            (
                Query(f"sum(rate(etl_seals_written_total{{{CHOSEN}}}{RATE}))", "written"),
                Query(f"sum(rate(etl_seals_unknown_total{{{CHOSEN}}}{RATE}))", "unknown"),
            ),
            PER_SECOND,
        ),
        PanelSpec(
            "Rejected share",
            "lines",
            "Share of the latest points that the sink rejected; the loader pauses at"
            " load.max_rejected_share.",
            (
                Query(f"max by (instance) (etl_sink_rejected_share{{{CHOSEN}}})", "{{instance}}"),
                Query(f"max(etl_sink_rejected_share{{{CHOSEN}}})", "all, highest"),
            ),
            SHARE,
            limit_of="EtlRejectedShareHigh",
        ),
    )
