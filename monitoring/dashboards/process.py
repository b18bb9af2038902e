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
    counted,
)
from monitoring.promql import duration
from monitoring.render.panel_names import PROCESS_DASHBOARD
from monitoring.thresholds import ETL_METRICS, PROMETHEUS, SPEAKING_JOBS, TEST_APP, Thresholds

UP_OR_DOWN = {1: ("UP", "green"), 0: ("DOWN", "red")}


def process_dashboard(t: Thresholds) -> DashboardSpec:
    """The dashboard of processes."""
    return DashboardSpec(
        uid=PROCESS_DASHBOARD,
        title="ETL process monitoring",
        help="What every process and stage reports of itself: the simulated ETL process (job"
        " etl-metrics) and the stages of the pipeline alike.",
        # Without the simulator, which reports the same of itself as etl-metrics does from its log.
        jobs=SPEAKING_JOBS,
        rows=(RowSpec("", _panels(t)),),
    )


def _panels(t: Thresholds) -> tuple[PanelSpec, ...]:
    window = duration(t.failure_window_seconds)
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
            "Whether the process reports that it is live and ready. DOWN, too: one that cannot be"
            " scraped, and a job of which nothing is left that was there in the chosen time.",
            (
                Query(
                    f"etl_health_status{{{CHOSEN}}}\nor up{{{CHOSEN}}} == 0\n"
                    f"or 0 * (\n  max by (job) (last_over_time(up{{{CHOSEN}}}[$__range]))\n"
                    f"  unless on (job) up{{{CHOSEN}}}\n)",
                    "{{job}} {{instance}}",
                ),
                Query(f'up{{job=~"{TEST_APP}|{PROMETHEUS}"}} == 0', "{{job}} {{instance}}"),
            ),
            NONE,
            width=8,
            values=UP_OR_DOWN,
        ),
        PanelSpec(
            "Time since last success",
            "lines",
            "Seconds since a file or batch last succeeded in any replica. The verifier is left out:"
            " it compares what is due, which can be an hour away.",
            (
                Query(
                    f'min by (job) (etl_seconds_since_last_success{{{CHOSEN}, job!="verifier"}})',
                    "{{job}}",
                ),
                # Transformer and loader may have nothing to do.
                Query(
                    "max(\n  min by (job) (etl_seconds_since_last_success"
                    f'{{{CHOSEN}, job=~"{ETL_METRICS}|extractor"}})\n)',
                    "all, longest",
                ),
            ),
            SECONDS,
            limit_of="EtlNoSuccess",
        ),
        PanelSpec(
            "Total failures",
            "stat",
            "Failed files or batches since the process began to count; judged are the latest.",
            (
                Query(f"sum by (job) (etl_failures_total{{{CHOSEN}}})", "{{job}}", neutral=True),
                Query(
                    f"round(sum by (job) (increase(etl_failures_total{{{CHOSEN}}}[{window}])))"
                    f" and on (job) up{{{CHOSEN}}} == 1",
                    f"{{{{job}}}}, {window}",
                ),
            ),
            COUNT,
            limit_of="EtlHighFailureRate",
        ),
        PanelSpec(
            "Average processing time",
            "lines",
            "Mean duration of the files or batches of a minute.",
            (
                Query(f"etl_avg_processing_time_seconds{{{CHOSEN}}}", "{{job}} {{instance}}"),
                Query(f"max(etl_avg_processing_time_seconds{{{CHOSEN}}})", "all, longest"),
            ),
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
            (Query(counted("etl_errors_by_type_total", CHOSEN, "error_type"), "{{error_type}}"),),
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
