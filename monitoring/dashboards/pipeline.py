"""``etl-pipeline``: samples on their way from Prometheus to InfluxDB, and what keeps them."""

from __future__ import annotations

from monitoring.dashboards.coverage import coverage_panels
from monitoring.dashboards.pipeline_flow import backlog_panels, flow_panels, window_panels
from monitoring.dashboards.pipeline_outcome import ledger_panels, sink_detail_panels, sink_panels
from monitoring.dashboards.pipeline_stages import stage_rows
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
    counted,
)
from monitoring.dashboards.strip import alert_panels, strip_panels
from monitoring.dashboards.verification import verification_panels
from monitoring.render.panel_names import PIPELINE_DASHBOARD
from monitoring.thresholds import EXTRACTOR, REDIS, STAGES, Thresholds


def pipeline_dashboard(t: Thresholds) -> DashboardSpec:
    """The dashboard of the pipeline."""
    return DashboardSpec(
        uid=PIPELINE_DASHBOARD,
        title="ETL pipeline",
        help="Samples on their way from Prometheus through Redis to InfluxDB. What comes from Redis"
        " is the whole pipeline's; job and instance choose among the stages' replicas.",
        jobs=STAGES,
        rows=(
            RowSpec("", strip_panels(t)),
            RowSpec("", alert_panels(t)),
            *stage_rows(t),
            RowSpec("Sink", sink_panels()),
            *(
                RowSpec(title, panels, collapsed=True)
                for title, panels in (
                    ("Flow in detail", flow_panels()),
                    ("Backlog and back-pressure", backlog_panels(t)),
                    ("Windows, lag and watermarks", window_panels()),
                    ("Dead letters and ledger", ledger_panels()),
                    ("Sink in detail", sink_detail_panels()),
                    ("Verification", verification_panels()),
                    ("Coverage", coverage_panels()),
                    ("Workers, Redis and memory", process_panels()),
                )
            ),
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
            "Configuration refused",
            "lines",
            "Whether a process refuses the configuration file as it is now (1).",
            (
                Query(
                    f"1 - min by (job) (etl_config_last_reload_successful{{{CHOSEN}}})", "{{job}}"
                ),
            ),
            COUNT,
            limit_of="EtlConfigRefused",
        ),
        PanelSpec(
            "Configuration read",
            "lines",
            "How long ago each process read the configuration that is in force.",
            (
                Query(
                    "time() - min by (job)"
                    f" (etl_config_last_reload_success_timestamp_seconds{{{CHOSEN}}})",
                    "{{job}}",
                ),
            ),
            SECONDS,
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
            "Keys that Redis threw away since its start.",
            (Query(f"max(etl_redis_evicted_keys_total{{{REDIS}}})", "evicted"),),
            COUNT,
            limit_of="EtlRedisEvicted",
        ),
        PanelSpec(
            "Eviction",
            "timeline",
            "Whether Redis may throw keys away at its memory limit.",
            (Query(f"max(etl_redis_may_evict{{{REDIS}}})", "Redis"),),
            NONE,
            values={0: ("may not", "green"), 1: ("may", "red")},
        ),
        PanelSpec(
            "Foreign jobs refused",
            "stat",
            "Jobs in the extractor's queues that were not its own, in the chosen time.",
            (Query(counted("etl_jobs_refused_total", EXTRACTOR, "job"), "jobs"),),
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
