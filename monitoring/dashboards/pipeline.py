"""``etl-pipeline``: samples on their way from Prometheus to InfluxDB, and what keeps them."""

from __future__ import annotations

from monitoring.dashboards.process import UP_OR_DOWN
from monitoring.dashboards.spec import (
    BYTES,
    BYTES_PER_SECOND,
    CORES,
    COUNT,
    NONE,
    PER_SECOND,
    SAMPLES_PER_SECOND,
    SECONDS,
    SHARE,
    DashboardSpec,
    PanelSpec,
    Query,
    RowSpec,
)
from monitoring.recording import FAST_BURN, FEED_FRESHNESS, FRESHNESS, SLOW_BURN
from monitoring.render.panel_names import PIPELINE_DASHBOARD
from monitoring.thresholds import BOOKS, STAGE_JOBS

# A variable lists only stages, whatever else speaks the same metrics.
_CHOSEN = 'job=~"$job", instance=~"$instance"'
_RATE = "[$__rate_interval]"


def pipeline_dashboard() -> DashboardSpec:
    """The dashboard of the pipeline."""
    return DashboardSpec(
        uid=PIPELINE_DASHBOARD,
        title="ETL pipeline",
        help="Samples on their way from Prometheus through Redis to InfluxDB. What comes from the"
        " books in Redis is the whole pipeline's; job and instance choose among the stages'"
        " replicas.",
        variables={
            "job": f"label_values(etl_health_status{{{STAGE_JOBS}}}, job)",
            "instance": 'label_values(etl_health_status{job=~"$job"}, instance)',
        },
        rows=(
            RowSpec("Now", _now()),
            RowSpec("Flow through the stages", _flow()),
            RowSpec("Backlog and back-pressure", _backlog()),
            RowSpec("Windows, lag and watermarks", _windows()),
            RowSpec("Dead letters and ledger", _books()),
            RowSpec("Sink", _sink()),
            RowSpec("Workers, Redis and memory", _machine()),
        ),
    )


def _now() -> tuple[PanelSpec, ...]:
    return (
        PanelSpec(
            "Firing alerts",
            "timeline",
            "Alerts that Prometheus sees firing; the one that always fires is left out.",
            (
                Query(
                    'max by (alertname) (ALERTS{alertstate="firing", alertname=~"Etl.+",'
                    ' alertname!="EtlWatchdog"})',
                    "{{alertname}}",
                ),
            ),
            NONE,
            width=12,
            values={1: ("firing", "red")},
        ),
        PanelSpec(
            "Replicas up",
            "stat",
            "Processes of each stage that Prometheus can scrape.",
            (Query(f"sum by (job) (up{{{STAGE_JOBS}}})", "{{job}}"),),
            COUNT,
            width=6,
            limit_of="EtlStageDown",
        ),
        PanelSpec(
            "Redis",
            "stat",
            "Whether etl-metrics can read the books.",
            (Query(f"max(etl_redis_up{{{BOOKS}}})", "Redis"),),
            NONE,
            width=6,
            values=UP_OR_DOWN,
        ),
        PanelSpec(
            "Freshness",
            "lines",
            "Age of the newest time up to which everything is loaded, by query and tier. Rollups"
            " are as old as their resolution.",
            (
                Query(FEED_FRESHNESS, "{{query}} {{tier}}"),
                Query(FRESHNESS, "hot, furthest behind"),
            ),
            SECONDS,
            width=12,
        ),
        PanelSpec(
            "Freshness budget",
            "lines",
            "How fast the month's stale minutes are used up; 1 calls for somebody.",
            (Query(FAST_BURN, "fast"), Query(SLOW_BURN, "slow")),
            NONE,
            width=12,
            limit_of="EtlFreshnessBudgetBurningFast",
        ),
    )


def _flow() -> tuple[PanelSpec, ...]:
    return (
        PanelSpec(
            "Samples through the stages",
            "lines",
            "The same samples, three times: the lines should lie on each other.",
            (
                Query(f"sum(rate(etl_extracted_samples_total{{{_CHOSEN}}}{_RATE}))", "extracted"),
                Query(
                    f"sum by (stage) (rate(etl_settled_samples_total{{{_CHOSEN}}}{_RATE}))",
                    "settled by {{stage}}",
                ),
                Query(f"sum(rate(etl_loaded_samples_total{{{_CHOSEN}}}{_RATE}))", "loaded"),
            ),
            SAMPLES_PER_SECOND,
            width=12,
        ),
        PanelSpec(
            "Dropped samples",
            "lines",
            "Samples that are not loaded on purpose, by reason.",
            (
                Query(
                    f"sum by (reason) (rate(etl_dropped_samples_total{{{_CHOSEN}}}{_RATE}))",
                    "{{reason}}",
                ),
            ),
            SAMPLES_PER_SECOND,
            width=12,
            stacked=True,
        ),
        PanelSpec(
            "Batches",
            "lines",
            "Windows extracted, entries transformed, groups loaded.",
            (Query(f"sum by (job) (rate(etl_files_total{{{_CHOSEN}}}{_RATE}))", "{{job}}"),),
            PER_SECOND,
        ),
        PanelSpec(
            "Batch duration",
            "lines",
            "Half and nineteen of twenty batches are quicker.",
            tuple(
                Query(
                    f"histogram_quantile({quantile}, sum by (le, stage)"
                    f" (rate(etl_batch_duration_seconds_bucket{{{_CHOSEN}}}{_RATE})))",
                    f"{{{{stage}}}} p{round(quantile * 100)}",
                )
                for quantile in (0.5, 0.95)
            ),
            SECONDS,
        ),
        PanelSpec(
            "Entries given back and taken over",
            "lines",
            "Retried, claimed from silent workers, refused settlements, defects.",
            tuple(
                Query(
                    f"sum by (stage) (rate(etl_{name}_total{{{_CHOSEN}}}{_RATE}))",
                    f"{{{{stage}}}} {words}",
                )
                for name, words in (
                    ("entries_retried", "retried"),
                    ("entries_claimed", "taken over"),
                    ("leases_lost", "leases lost"),
                    ("settlements_refused", "settlements refused"),
                    ("handler_failures", "defects"),
                )
            ),
            PER_SECOND,
        ),
    )


def _backlog() -> tuple[PanelSpec, ...]:
    return (
        PanelSpec(
            "Backlog",
            "lines",
            "Time that is planned and not yet cut into windows.",
            (Query(f"etl_backlog_seconds{{{BOOKS}}}", "{{query}} {{tier}}"),),
            SECONDS,
        ),
        PanelSpec(
            "Oldest entry",
            "lines",
            "How long the oldest entry of each stream has waited.",
            (
                Query(
                    f"max by (stream) (etl_stream_oldest_entry_age_seconds{{{BOOKS}}})",
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
                Query(f"sum by (stream) (etl_stream_bytes{{{BOOKS}}})", "{{stream}}"),
                Query(f"max(etl_staged_bytes{{{BOOKS}}})", "staged"),
                Query(f"max(etl_in_flight_bytes{{{BOOKS}}})", "all"),
            ),
            BYTES,
        ),
        PanelSpec(
            "Back-pressure",
            "timeline",
            "Whether extraction is paused because too much is in flight.",
            (Query(f"max(etl_backpressure_active{{{BOOKS}}})", "extraction"),),
            NONE,
            values={0: ("runs", "green"), 1: ("paused", "orange")},
        ),
        PanelSpec(
            "Samples in the streams",
            "lines",
            "Samples that wait for transformer (raw) and loader (points).",
            (Query(f"sum by (stream) (etl_stream_samples{{{BOOKS}}})", "{{stream}}"),),
            COUNT,
        ),
        PanelSpec(
            "Entries in the streams",
            "lines",
            "Entries in all, handed out, and given back to be tried again.",
            (
                Query(f"sum by (stream) (etl_stream_entries{{{BOOKS}}})", "{{stream}}"),
                Query(
                    f"sum by (stream) (etl_stream_pending_entries{{{BOOKS}}})",
                    "{{stream}} pending",
                ),
                Query(
                    f"sum by (stream) (etl_stream_delayed_entries{{{BOOKS}}})",
                    "{{stream}} given back",
                ),
            ),
            COUNT,
        ),
    )


def _windows() -> tuple[PanelSpec, ...]:
    feed = "{{query}} {{tier}}"
    return (
        PanelSpec(
            "Lag of extraction and loading",
            "lines",
            "How far the watermarks are behind: planned, extracted, loaded.",
            tuple(
                Query(
                    f"max by (query, tier) (time() - etl_{name}_timestamp_seconds{{{BOOKS}}})",
                    f"{feed} {words}",
                )
                for name, words in (
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
                Query(f"max by (query, tier) (etl_windows_open{{{BOOKS}}})", f"{feed} open"),
                Query(
                    f"max by (query, tier) (etl_windows_unsettled{{{BOOKS}}})", f"{feed} unsettled"
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
                Query(f"sum(rate(etl_{name}_total{{{_CHOSEN}}}{_RATE}))", words)
                for name, words in (
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
            "Since a query last succeeded.",
            (Query(f"max by (query, tier) (etl_query_failures_in_a_row{{{BOOKS}}})", feed),),
            COUNT,
            limit_of="EtlWindowFailing",
        ),
        PanelSpec(
            "Failed attempts by type",
            "lines",
            "Why windows could not be extracted.",
            (
                Query(
                    f"sum by (query, error_type) (rate(etl_query_failures_total{{{_CHOSEN}}}"
                    f"{_RATE}))",
                    "{{query}} {{error_type}}",
                ),
            ),
            PER_SECOND,
        ),
        PanelSpec(
            "Gaps",
            "lines",
            "Declared gaps that are remembered; `etlctl status` shows their bounds.",
            (Query(f"max by (query, tier) (etl_gaps_declared{{{BOOKS}}})", feed),),
            COUNT,
        ),
    )


def _books() -> tuple[PanelSpec, ...]:
    return (
        PanelSpec(
            "Dead letters",
            "lines",
            "Letters that are kept, by stage and reason.",
            (
                Query(f"max(etl_dead_letters_kept{{{BOOKS}}})", "all"),
                Query(
                    f"sum by (stage, reason) (etl_dead_letter_entries{{{BOOKS}}})",
                    "{{stage}} {{reason}}",
                ),
            ),
            COUNT,
        ),
        PanelSpec(
            "Dead letters written",
            "lines",
            "How fast letters come, by stage and reason.",
            (
                Query(
                    f"sum by (stage, reason) (rate(etl_dead_letters_total{{{_CHOSEN}}}{_RATE}))",
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
                    f"sum by (stage) (increase(etl_deleted_pending_entries_total{{{_CHOSEN}}}"
                    "[$__range]))",
                    "{{stage}}",
                    instant=True,
                ),
            ),
            COUNT,
            limit_of="EtlPendingEntriesDeleted",
        ),
        PanelSpec(
            "Ledger",
            "lines",
            "extracted = loaded + dropped + dead_lettered + in_flight, in samples.",
            (Query(f"sum by (account) (etl_ledger_samples{{{BOOKS}}})", "{{account}}"),),
            COUNT,
        ),
        PanelSpec(
            "Ledger imbalance",
            "stat",
            "Samples that the ledger cannot account for: 0, always.",
            (Query(f"max(etl_ledger_imbalance_samples{{{BOOKS}}})", "samples"),),
            COUNT,
            limit_of="EtlLedgerOutOfBalance",
        ),
        PanelSpec(
            "Lost and unbooked",
            "lines",
            "Samples booked whose entry or payload is gone; entries that the ledger does not know.",
            (
                Query(
                    f"sum by (stream) (etl_stream_lost_samples{{{BOOKS}}})",
                    "{{stream}} samples lost",
                ),
                Query(
                    f"sum by (stream) (etl_stream_unaccounted_entries{{{BOOKS}}})",
                    "{{stream}} entries unbooked",
                ),
            ),
            COUNT,
        ),
    )


def _sink() -> tuple[PanelSpec, ...]:
    return (
        PanelSpec(
            "Sink answers",
            "lines",
            "Posts by what InfluxDB answered.",
            (
                Query(
                    f"sum by (response) (rate(etl_sink_posts_total{{{_CHOSEN}}}{_RATE}))",
                    "{{response}}",
                ),
            ),
            PER_SECOND,
        ),
        PanelSpec(
            "Post duration",
            "lines",
            "Half and nineteen of twenty posts are quicker.",
            tuple(
                Query(
                    f"histogram_quantile({quantile}, sum by (le)"
                    f" (rate(etl_sink_post_duration_seconds_bucket{{{_CHOSEN}}}{_RATE})))",
                    f"p{round(quantile * 100)}",
                )
                for quantile in (0.5, 0.95)
            ),
            SECONDS,
        ),
        PanelSpec(
            "Posted bytes",
            "lines",
            "Compressed bytes that were posted.",
            (Query(f"sum(rate(etl_sink_posted_bytes_total{{{_CHOSEN}}}{_RATE}))", "posted"),),
            BYTES_PER_SECOND,
        ),
        PanelSpec(
            "Circuit and hold",
            "timeline",
            "The circuit breaker (0 closed, 1 half open, 2 open), and whether the loader is held.",
            (
                Query(
                    f"max by (instance) (etl_circuit_state{{{_CHOSEN}}})", "circuit {{instance}}"
                ),
                Query(f"max by (instance) (etl_sink_paused{{{_CHOSEN}}}) * 3", "hold {{instance}}"),
            ),
            NONE,
            values={
                0: ("works", "green"),
                1: ("tries", "yellow"),
                2: ("open", "red"),
                3: ("held", "purple"),
            },
        ),
        PanelSpec(
            "Sink failures and holds",
            "lines",
            "Posts that are tried again and holds, by cause; waits that the sink asked for.",
            (
                Query(
                    f"sum by (cause) (rate(etl_sink_failures_total{{{_CHOSEN}}}{_RATE}))",
                    "failed: {{cause}}",
                ),
                Query(
                    f"sum by (cause) (rate(etl_sink_pauses_total{{{_CHOSEN}}}{_RATE}))",
                    "held: {{cause}}",
                ),
                Query(f"sum(rate(etl_sink_waits_total{{{_CHOSEN}}}{_RATE}))", "asked to wait"),
            ),
            PER_SECOND,
        ),
        PanelSpec(
            "Rejected share",
            "lines",
            "Share of the latest points that the sink rejected; the loader holds at"
            " load.max_rejected_share.",
            (Query(f"max by (instance) (etl_sink_rejected_share{{{_CHOSEN}}})", "{{instance}}"),),
            SHARE,
            limit_of="EtlRejectedShareHigh",
        ),
    )


def _machine() -> tuple[PanelSpec, ...]:
    return (
        PanelSpec(
            "Workers",
            "lines",
            "Workers that Redis has heard of lately.",
            (Query(f"sum by (stage) (etl_workers{{{BOOKS}}})", "{{stage}}"),),
            COUNT,
        ),
        PanelSpec(
            "Jobs",
            "lines",
            "RQ's queues and registries. A job is a doorbell: a lost one costs a moment.",
            (Query(f"sum by (queue, state) (etl_rq_jobs{{{BOOKS}}})", "{{queue}} {{state}}"),),
            COUNT,
        ),
        PanelSpec(
            "Redis memory",
            "lines",
            "Memory that Redis uses, and its limit if it has one.",
            (
                Query(f"max(etl_redis_memory_used_bytes{{{BOOKS}}})", "used"),
                Query(f"max(etl_redis_memory_max_bytes{{{BOOKS}}})", "limit"),
            ),
            BYTES,
        ),
        PanelSpec(
            "Memory of the processes",
            "lines",
            "Resident memory.",
            (
                Query(f"process_resident_memory_bytes{{{_CHOSEN}}}", "{{job}} {{instance}}"),
                Query(f"process_resident_memory_bytes{{{BOOKS}}}", "{{job}}"),
            ),
            BYTES,
        ),
        PanelSpec(
            "Processor time",
            "lines",
            "Cores that each process keeps busy.",
            (
                Query(
                    f"rate(process_cpu_seconds_total{{{_CHOSEN}}}{_RATE})", "{{job}} {{instance}}"
                ),
            ),
            CORES,
        ),
        PanelSpec(
            "Reading the books",
            "lines",
            "How long etl-metrics reads Redis, and for how long of it Redis serves nobody else.",
            (
                Query(f"max(etl_redis_read_seconds{{{BOOKS}}})", "reading"),
                Query(f"max(etl_redis_audit_seconds{{{BOOKS}}})", "audit"),
            ),
            SECONDS,
        ),
    )
