"""Alerts on Prometheus as the extractor finds it: clock, servers, and what queries give."""

from __future__ import annotations

from monitoring.model import Alert, Limit, PanelRef
from monitoring.promql import burst, duration, highest, latest, or_zero
from monitoring.render.panel_names import PIPELINE_DASHBOARD
from monitoring.thresholds import EXTRACTOR, REDIS, Thresholds


def alerts(t: Thresholds) -> tuple[Alert, ...]:
    """Source alerts with the thresholds ``t``."""
    histograms = f'etl_dropped_samples_total{{{EXTRACTOR}, reason="native_histogram"}}'
    clock = f"etl_source_clock_difference_seconds{{{EXTRACTOR}}}"
    return (
        Alert(
            name="EtlClocksDiffer",
            severity="warning",
            summary="Prometheus' clock and another differ.",
            description=(
                "Prometheus' clock differs by {{ .Value | humanizeDuration }} from another"
                " ({{ .Labels.clock }}): what has settled is told by it."
            ),
            query=(
                # Shown for a minute after it was seen.
                f"max by (clock) (\n  abs({latest(clock, t.bridge_seconds)})\n)"
            ),
            limit=Limit(">", t.clock_difference),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Clock differences"),
        ),
        Alert(
            name="EtlSourceAlternates",
            severity="critical",
            summary="Several Prometheus with different history answer at one address.",
            description=(
                "{{ .Value | humanize }} servers answer in turn at Prometheus' address: samples"
                " that only one of them holds may be missed."
            ),
            query=(f"max({highest(f'etl_source_servers{{{EXTRACTOR}}}', t.bridge_seconds)})"),
            limit=Limit(">", 1),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Servers at Prometheus' address"),
        ),
        Alert(
            name="EtlReplicaLacking",
            severity="warning",
            summary="A replica of the source is away, or lacks samples that another has.",
            description=(
                "{{ .Labels.replica }} lacks {{ .Value | humanizePercentage }} of the newest"
                " samples that another replica has (all of them: it does not answer). What is"
                " scraped now has no second copy."
            ),
            # Absent where the source has no replicas.
            query=or_zero(
                "max by (source, replica) (\n  "
                + latest(f"etl_replica_lacks_ratio{{{EXTRACTOR}}}", t.bridge_seconds)
                + "\n)"
            ),
            limit=Limit(">", t.replica_lacks_ratio),
            for_seconds=t.replica_lacks_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Replicas that lack samples"),
        ),
        Alert(
            name="EtlSettleTooShort",
            severity="warning",
            summary="Samples are extracted before Prometheus has them all.",
            description=(
                "The settle_seconds of {{ .Labels.query }} ({{ .Labels.tier }}) is"
                " {{ .Value | humanizeDuration }} shorter than Prometheus' scrape interval and"
                " time-out, or its evaluation interval, need."
            ),
            # Absent where the source reports no interval.
            query=or_zero(
                "max by (query, tier) (\n  "
                + latest(f"etl_settle_missing_seconds{{{EXTRACTOR}}}", t.bridge_seconds)
                + "\n)"
            ),
            limit=Limit(">", 0),
            for_seconds=t.settle_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Settling time missing"),
        ),
        Alert(
            name="EtlQueryEmpty",
            severity="warning",
            summary="A query matches no series.",
            description=(
                "{{ .Labels.query }} ({{ .Labels.tier }}) has matched no series for"
                " {{ .Value | humanizeDuration }}: nothing of it is extracted."
            ),
            query=(
                "max by (query, tier) (\n  "
                + latest(f"etl_query_empty_seconds{{{REDIS}}}", t.bridge_seconds)
                + "\n)"
            ),
            limit=Limit(">", t.query_empty_seconds),
            for_seconds=t.query_empty_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Queries without series"),
        ),
        Alert(
            name="EtlNativeHistogramsDropped",
            severity="warning",
            summary="Native histograms are not loaded.",
            description=(
                "{{ .Value | humanize }} native histogram samples of the last"
                f" {duration(t.histograms_window_seconds)} were dropped, as a point has one float:"
                " `etlctl status` shows of which queries."
            ),
            query=or_zero(
                "sum(\n  "
                + burst(histograms, t.histograms_window_seconds).replace("\n", "\n  ")
                + "\n)"
            ),
            limit=Limit(">", 0),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Dropped samples"),
        ),
    )
