"""Alerts on the nine metrics that every process and stage speaks: those of the reference."""

from __future__ import annotations

from monitoring.model import Alert, Limit, PanelRef
from monitoring.promql import duration, greater, latest, lesser
from monitoring.render.panel_names import PROCESS_DASHBOARD
from monitoring.thresholds import (
    ETL_METRICS,
    PROCESS,
    PROMETHEUS,
    SPEAKERS,
    TEST_APP,
    VERIFIER,
    Thresholds,
)


def alerts(t: Thresholds) -> tuple[Alert, ...]:
    """Process alerts with the thresholds ``t``."""
    rate = f"etl_current_rate_records_per_second{{{PROCESS}}}"
    failures = f"etl_failures_total{{{SPEAKERS}}}"
    processing = f"etl_avg_processing_time_seconds{{{SPEAKERS}}}"
    return (
        Alert(
            name="EtlHealthCheckFailed",
            severity="critical",
            summary="A process or stage reports that it is not healthy.",
            description=(
                "{{ .Labels.job }} ({{ .Labels.instance }}) has not been live and ready for"
                f" {duration(t.unhealthy_for_seconds)} or longer."
            ),
            query=latest(f"etl_health_status{{{SPEAKERS}}}", t.bridge_seconds),
            limit=Limit("<", 1),
            for_seconds=t.unhealthy_for_seconds,
            panel=PanelRef(PROCESS_DASHBOARD, "Health status"),
        ),
        Alert(
            name="EtlMetricsEndpointUnavailable",
            severity="critical",
            summary="Metrics of the monitored process, or of the monitoring itself, are missing.",
            description=(
                "Prometheus cannot scrape {{ .Labels.job }}: until it can, what happens there is"
                " not seen."
            ),
            # A job whose target was never configured has no `up` at all.
            query=(
                f'1 - up{{job=~"{ETL_METRICS}|{TEST_APP}|{PROMETHEUS}|{VERIFIER}"}}\n'
                f'or absent(up{{job="{ETL_METRICS}"}})'
            ),
            limit=Limit(">", 0),
            for_seconds=t.endpoint_down_for_seconds,
            panel=PanelRef(PROCESS_DASHBOARD, "Health status"),
        ),
        Alert(
            name="EtlProcessLogUnreadable",
            severity="warning",
            summary="The log of the monitored process cannot be read.",
            description=(
                "{{ .Labels.job }} cannot read the JSON log that it follows, so the metrics of"
                " the process behind it stand still or are missing."
            ),
            query=latest(f"etl_log_up{{{PROCESS}}}", t.bridge_seconds),
            limit=Limit("<", 1),
            for_seconds=t.log_unreadable_for_seconds,
            panel=PanelRef(PROCESS_DASHBOARD, "Health status"),
        ),
        Alert(
            name="EtlNoSuccess",
            severity="warning",
            summary="Nothing has succeeded for a long time.",
            description=(
                "{{ .Labels.job }} last succeeded {{ .Value | humanizeDuration }} ago; none of its"
                " replicas has since."
            ),
            # Transformer and loader have nothing to do while nothing arrives: EtlStageStalled
            # checks them together with their streams.
            query=(
                "min by (job) (\n  "
                + latest(
                    f'etl_seconds_since_last_success{{job=~"{ETL_METRICS}|extractor"}}',
                    t.bridge_seconds,
                )
                + "\n)"
            ),
            limit=Limit(">", t.no_success_seconds),
            for_seconds=t.no_success_for_seconds,
            panel=PanelRef(PROCESS_DASHBOARD, "Time since last success"),
        ),
        Alert(
            name="EtlHighFailureRate",
            severity="warning",
            summary="Failures are far more frequent than usual.",
            description=(
                "{{ .Labels.job }} had {{ .Value | humanize }} failures in the last"
                f" {duration(t.failure_window_seconds)}."
            ),
            query=(
                f"sum by (job) (increase({failures}[{duration(t.failure_window_seconds)}]))\n"
                f"* on (job) (\n"
                f"  sum by (job) (increase({failures}[{duration(t.failure_recent_seconds)}]))"
                " > bool 0\n)"
            ),
            limit=Limit(">", t.failures),
            for_seconds=t.failure_for_seconds,
            panel=PanelRef(PROCESS_DASHBOARD, "Total failures"),
        ),
        Alert(
            name="EtlLowThroughput",
            severity="warning",
            summary="The process handles fewer records than it should.",
            description=(
                "{{ .Labels.job }} handles no more than {{ .Value | humanize }} records a second,"
                f" in the mean of {duration(t.throughput_window_seconds)} and now."
            ),
            # Now, too: the mean is low for minutes after an outage is over.
            # A stage's throughput is what its source has; EtlBacklogGrowing fires if it is too low.
            query=greater(
                f"avg_over_time({rate}[{duration(t.throughput_window_seconds)}])",
                latest(rate, t.bridge_seconds),
            ),
            limit=Limit("<", t.throughput_records_per_second),
            for_seconds=t.throughput_for_seconds,
            panel=PanelRef(PROCESS_DASHBOARD, "Processing rate"),
        ),
        Alert(
            name="EtlExcessiveProcessingTime",
            severity="warning",
            summary="Files or batches take far longer than usual.",
            description=(
                "{{ .Labels.job }} ({{ .Labels.instance }}) takes"
                " {{ .Value | humanizeDuration }} for one in the mean."
            ),
            query=lesser(
                f"avg_over_time({processing}[{duration(t.processing_window_seconds)}])",
                latest(processing, t.bridge_seconds),
            ),
            limit=Limit(">", t.processing_seconds),
            for_seconds=t.processing_for_seconds,
            panel=PanelRef(PROCESS_DASHBOARD, "Average processing time"),
        ),
    )
