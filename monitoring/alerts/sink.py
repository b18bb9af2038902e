"""Alerts on the sink, as the loader sees it."""

from __future__ import annotations

from monitoring.model import Alert, Limit, PanelRef
from monitoring.promql import burst, duration, latest, or_zero
from monitoring.render.panel_names import PIPELINE_DASHBOARD
from monitoring.thresholds import REDIS, Thresholds

_LOADER = 'job="loader"'


def alerts(t: Thresholds) -> tuple[Alert, ...]:
    """Sink alerts with the thresholds ``t``."""
    expired = f'etl_dropped_samples_total{{{_LOADER}, reason="beyond_retention"}}'
    closings = f'etl_circuit_changes_total{{{_LOADER}, state="closed"}}'
    unknown = f'etl_sink_retention_unknown{{{_LOADER}, configured="false"}}'
    seals_window = duration(t.seals_window_seconds)
    limited = f"etl_sink_limited_lines_total{{{_LOADER}}}"
    return (
        Alert(
            name="EtlSinkRefusesUs",
            severity="critical",
            summary="The sink refuses our writes; the loader is paused.",
            description=(
                "InfluxDB refuses the writes, and a retry cannot help: a token, a bucket, a"
                " capacity limit, or most of the points. Nothing is dropped; everything waits."
            ),
            query=f"max({latest(f'etl_sink_paused{{{_LOADER}}}', t.bridge_seconds)})",
            limit=Limit(">", 0),
            for_seconds=t.sink_paused_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Circuit and pause"),
        ),
        Alert(
            name="EtlCircuitOpen",
            severity="critical",
            summary="The sink does not respond; the loader's circuit is open.",
            description=(
                "Posts to InfluxDB fail or time out one after the other. The loader tries one now"
                " and then; everything else waits."
            ),
            # It turns half open for every attempt, which may be what a scrape sees.
            query=f"max({latest(f'etl_circuit_state{{{_LOADER}}}', t.bridge_seconds)})",
            limit=Limit(">", 0),
            for_seconds=t.circuit_open_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Circuit and pause"),
        ),
        Alert(
            name="EtlCircuitFlapping",
            severity="warning",
            summary="The sink comes and goes.",
            description=(
                "The loader's circuit closed {{ .Value | humanize }} times in"
                f" {duration(t.flapping_window_seconds)}, and opened as often."
            ),
            query=or_zero(
                "sum(\n  "
                + burst(closings, t.flapping_window_seconds).replace("\n", "\n  ")
                + "\n)"
            ),
            limit=Limit(">", t.circuit_closings),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Circuit and pause"),
        ),
        Alert(
            name="EtlRejectedShareHigh",
            severity="warning",
            summary="The sink rejects many of the points.",
            description=(
                "InfluxDB rejects {{ .Value | humanizePercentage }} of the latest points; they"
                " become dead letters. The loader pauses at load.max_rejected_share."
            ),
            query=f"max({latest(f'etl_sink_rejected_share{{{_LOADER}}}', t.bridge_seconds)})",
            limit=Limit(">", t.rejected_share),
            for_seconds=t.rejected_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Rejected share"),
        ),
        Alert(
            name="EtlSamplesBeyondRetention",
            severity="warning",
            summary="Samples came too late for their bucket, and were dropped.",
            description=(
                "{{ .Value | humanize }} samples of the last"
                f" {duration(t.beyond_retention_window_seconds)} were older than their bucket keeps"
                " points: `etlctl status` shows of which queries."
            ),
            query=or_zero(
                "sum(\n  "
                + burst(expired, t.beyond_retention_window_seconds).replace("\n", "\n  ")
                + "\n)"
            ),
            limit=Limit(">", t.beyond_retention_samples),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Dropped samples"),
        ),
        Alert(
            name="EtlSinkLimitReached",
            severity="warning",
            summary="A limit of the sink keeps points out.",
            description=(
                "InfluxDB kept {{ .Value | humanize }} points out in the last"
                f" {duration(t.limited_window_seconds)}, because a limit is reached for their"
                " measurement or tag. They are kept; everything else flows."
            ),
            query=or_zero(
                "sum(\n  " + burst(limited, t.limited_window_seconds).replace("\n", "\n  ") + "\n)"
            ),
            limit=Limit(">", t.limited_lines),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Sink failures and pauses"),
        ),
        Alert(
            name="EtlSinkRetentionUnknown",
            severity="warning",
            summary="Points that are too old for the sink vanish, and nobody knows which.",
            description=(
                "InfluxDB 3 does not say how long it keeps the points of the tier"
                " {{ .Labels.tier }}, and load.tiers gives no retention: it takes points that are"
                " too old and forgets them, and they count as loaded."
            ),
            # Absent where the sink is another InfluxDB.
            query=or_zero(f"max by (tier) (\n  {latest(unknown, t.bridge_seconds)}\n)"),
            limit=Limit(">", 0),
            for_seconds=t.retention_unknown_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Retention unknown"),
        ),
        Alert(
            name="EtlSealsNotWritten",
            severity="warning",
            summary="What is loaded is not sealed.",
            description=(
                "{{ .Value | humanize }} seals of loaded windows wait in Redis, and none was"
                f" written to the sink in {seals_window}: what was loaded cannot be proven without"
                " the source. No point is concerned."
            ),
            query=or_zero(
                f"max(min_over_time(etl_seals_due{{{REDIS}}}[{seals_window}]))\n"
                "* (\n"
                f"  (sum(increase(etl_seals_written_total{{{_LOADER}}}[{seals_window}]))"
                " or on () vector(0)) == bool 0\n"
                ")"
            ),
            limit=Limit(">", 0),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Seals"),
        ),
    )
