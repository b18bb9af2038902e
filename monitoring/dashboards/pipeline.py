"""``etl-pipeline``: samples on their way from Prometheus to InfluxDB, and what keeps them."""

from __future__ import annotations

from monitoring.dashboards.coverage import coverage_panels
from monitoring.dashboards.pipeline_flow import backlog_panels, flow_panels, window_panels
from monitoring.dashboards.pipeline_outcome import ledger_panels, sink_panels
from monitoring.dashboards.process import UP_OR_DOWN
from monitoring.dashboards.spec import (
    BYTES,
    CHOSEN,
    CORES,
    COUNT,
    NONE,
    RATE,
    SECONDS,
    DashboardSpec,
    PanelSpec,
    Query,
    RowSpec,
)
from monitoring.dashboards.verification import verification_panels
from monitoring.recording import FAST_BURN, FEED_FRESHNESS, FRESHNESS, SLOW_BURN
from monitoring.render.panel_names import PIPELINE_DASHBOARD
from monitoring.thresholds import REDIS, STAGE_JOBS


def pipeline_dashboard() -> DashboardSpec:
    """The dashboard of the pipeline."""
    return DashboardSpec(
        uid=PIPELINE_DASHBOARD,
        title="ETL pipeline",
        help="Samples on their way from Prometheus through Redis to InfluxDB. What comes from Redis"
        " is the whole pipeline's; job and instance choose among the stages' replicas.",
        variables={
            "job": f"label_values(etl_health_status{{{STAGE_JOBS}}}, job)",
            "instance": 'label_values(etl_health_status{job=~"$job"}, instance)',
        },
        rows=(
            RowSpec("Now", now_panels()),
            RowSpec("Flow through the stages", flow_panels()),
            RowSpec("Backlog and back-pressure", backlog_panels()),
            RowSpec("Windows, lag and watermarks", window_panels()),
            RowSpec("Dead letters and ledger", ledger_panels()),
            RowSpec("Sink", sink_panels()),
            RowSpec("Verification", verification_panels()),
            RowSpec("Coverage", coverage_panels()),
            RowSpec("Workers, Redis and memory", process_panels()),
        ),
    )


def now_panels() -> tuple[PanelSpec, ...]:
    """What an operator reads first."""
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
            "Whether etl-metrics can read the ledger in Redis, and Redis can write its file.",
            (
                Query(f"max(etl_redis_up{{{REDIS}}})", "Redis"),
                Query(f"min by (operation) (etl_redis_aof_ok{{{REDIS}}})", "{{operation}}"),
            ),
            NONE,
            width=6,
            values=UP_OR_DOWN,
        ),
        PanelSpec(
            "Freshness",
            "lines",
            "Age of the newest time up to which everything is loaded in the hot tier, by query."
            " Rollups are behind by up to the length of their windows: panel Lag of extraction and"
            " loading.",
            (
                Query(f'{FEED_FRESHNESS}{{tier="hot"}}', "{{query}}"),
                Query(FRESHNESS, "hot, furthest behind"),
            ),
            SECONDS,
            width=12,
        ),
        PanelSpec(
            "Freshness budget",
            "lines",
            "How fast the month's stale minutes are used up; an alert fires above 1.",
            (Query(FAST_BURN, "fast"), Query(SLOW_BURN, "slow")),
            NONE,
            width=12,
            limit_of="EtlFreshnessBudgetBurningFast",
        ),
    )


def process_panels() -> tuple[PanelSpec, ...]:
    """Workers, jobs, Redis and the processes' memory and processor time."""
    return (
        PanelSpec(
            "Workers",
            "lines",
            "Workers that Redis has heard of lately.",
            (Query(f"sum by (stage) (etl_workers{{{REDIS}}})", "{{stage}}"),),
            COUNT,
        ),
        PanelSpec(
            "Jobs",
            "lines",
            "RQ's queues and registries. A lost job delays its work by a moment.",
            (Query(f"sum by (queue, state) (etl_rq_jobs{{{REDIS}}})", "{{queue}} {{state}}"),),
            COUNT,
        ),
        PanelSpec(
            "Redis memory",
            "lines",
            "Memory that Redis uses, and its limit if it has one.",
            (
                Query(f"max(etl_redis_memory_used_bytes{{{REDIS}}})", "used"),
                Query(f"max(etl_redis_memory_max_bytes{{{REDIS}}})", "limit"),
            ),
            BYTES,
        ),
        PanelSpec(
            "Keys evicted",
            "lines",
            "Keys that Redis threw away since its start, and whether it may (1).",
            (
                Query(f"max(etl_redis_evicted_keys_total{{{REDIS}}})", "evicted"),
                Query(f"max(etl_redis_may_evict{{{REDIS}}})", "may evict"),
            ),
            COUNT,
            limit_of="EtlRedisEvicted",
        ),
        PanelSpec(
            "Foreign jobs refused",
            "stat",
            "Jobs in the extractor's queues that were not its own, in the chosen time.",
            (
                Query(
                    f"sum(increase(etl_jobs_refused_total{{{CHOSEN}}}[$__range]))",
                    "jobs",
                    instant=True,
                ),
            ),
            COUNT,
            limit_of="EtlForeignJobs",
        ),
        PanelSpec(
            "Memory of the processes",
            "lines",
            "Resident memory.",
            (
                Query(f"process_resident_memory_bytes{{{CHOSEN}}}", "{{job}} {{instance}}"),
                Query(f"process_resident_memory_bytes{{{REDIS}}}", "{{job}}"),
            ),
            BYTES,
        ),
        PanelSpec(
            "Processor time",
            "lines",
            "Cores that each process keeps busy.",
            (Query(f"rate(process_cpu_seconds_total{{{CHOSEN}}}{RATE})", "{{job}} {{instance}}"),),
            CORES,
        ),
        PanelSpec(
            "Reading the ledger",
            "lines",
            "How long etl-metrics reads Redis, and for how long of it Redis serves nobody else.",
            (
                Query(f"max(etl_redis_read_seconds{{{REDIS}}})", "reading"),
                Query(f"max(etl_redis_audit_seconds{{{REDIS}}})", "audit"),
            ),
            SECONDS,
        ),
    )
