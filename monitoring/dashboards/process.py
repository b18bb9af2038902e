"""``etl-monitoring``: the eight panels that show any process or stage by its nine metrics."""

from __future__ import annotations

from monitoring.dashboards.spec import (
    CHOSEN,
    COUNT,
    NONE,
    RECORDS_PER_SECOND,
    SECONDS,
    DashboardSpec,
    PanelSpec,
    Query,
    RowSpec,
)
from monitoring.render.panel_names import PROCESS_DASHBOARD
from monitoring.thresholds import SPEAKERS

UP_OR_DOWN = {1: ("UP", "green"), 0: ("DOWN", "red")}


def process_dashboard() -> DashboardSpec:
    """The dashboard of processes."""
    return DashboardSpec(
        uid=PROCESS_DASHBOARD,
        title="ETL process monitoring",
        help="What every process and stage reports of itself: the simulated ETL process (job"
        " etl-metrics) and the stages of the pipeline alike.",
        variables={
            # The simulator reports the same of itself as etl-metrics does from its log.
            "job": f"label_values(etl_health_status{{{SPEAKERS}}}, job)",
            "instance": 'label_values(etl_health_status{job=~"$job"}, instance)',
        },
        rows=(RowSpec("", _panels()),),
    )


def _panels() -> tuple[PanelSpec, ...]:
    return (
        PanelSpec(
            "Processing rate",
            "lines",
            "Records a second, each the mean of a minute.",
            (Query(f"sum by (job) (etl_current_rate_records_per_second{{{CHOSEN}}})", "{{job}}"),),
            RECORDS_PER_SECOND,
            width=16,
            limit_of="EtlLowThroughput",
        ),
        PanelSpec(
            "Health status",
            "stat",
            "Whether the process reports that it is live and ready.",
            (Query(f"etl_health_status{{{CHOSEN}}}", "{{job}} {{instance}}"),),
            NONE,
            width=8,
            values=UP_OR_DOWN,
        ),
        PanelSpec(
            "Time since last success",
            "lines",
            "Seconds since a file or batch last succeeded in any replica.",
            (Query(f"min by (job) (etl_seconds_since_last_success{{{CHOSEN}}})", "{{job}}"),),
            SECONDS,
            limit_of="EtlNoSuccess",
        ),
        PanelSpec(
            "Total failures",
            "stat",
            "Failed files or batches since the process began to count.",
            (Query(f"sum by (job) (etl_failures_total{{{CHOSEN}}})", "{{job}}"),),
            COUNT,
        ),
        PanelSpec(
            "Average processing time",
            "lines",
            "Mean duration of the files or batches of a minute.",
            (Query(f"etl_avg_processing_time_seconds{{{CHOSEN}}}", "{{job}} {{instance}}"),),
            SECONDS,
            limit_of="EtlExcessiveProcessingTime",
        ),
        PanelSpec(
            "Cumulative counts",
            "lines",
            "Records and files since the processes began to count.",
            (
                Query(f"sum by (job) (etl_records_total{{{CHOSEN}}})", "{{job}} records"),
                Query(f"sum by (job) (etl_files_total{{{CHOSEN}}})", "{{job}} files"),
            ),
            COUNT,
        ),
        PanelSpec(
            "Error types distribution",
            "pie",
            "Failures in the chosen time, by type.",
            (
                Query(
                    f"sum by (error_type) (increase(etl_errors_by_type_total{{{CHOSEN}}}"
                    "[$__range]))",
                    "{{error_type}}",
                    instant=True,
                ),
            ),
            COUNT,
        ),
        PanelSpec(
            "Processing activity",
            "bars",
            "What was done and what failed in each five minutes.",
            (
                Query(
                    f"sum by (job) (increase(etl_records_total{{{CHOSEN}}}[5m]))",
                    "{{job}} records",
                ),
                Query(f"sum by (job) (increase(etl_files_total{{{CHOSEN}}}[5m]))", "{{job}} files"),
                Query(
                    f"sum by (job) (increase(etl_failures_total{{{CHOSEN}}}[5m]))",
                    "{{job}} failures",
                ),
            ),
            COUNT,
        ),
    )
