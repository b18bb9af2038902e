"""Alerts on the proof that the sink holds what the source holds."""

from __future__ import annotations

from monitoring.model import Alert, Limit, PanelRef
from monitoring.promql import burst, duration, latest
from monitoring.render.panel_names import PIPELINE_DASHBOARD
from monitoring.thresholds import VERIFIER, Thresholds


def alerts(t: Thresholds) -> tuple[Alert, ...]:
    """Verification alerts with the thresholds ``t``."""
    differing = f'etl_verify_differing_points{{job="{VERIFIER}"}}'
    waiting = f'etl_verify_waiting_seconds{{job="{VERIFIER}"}}'
    window = duration(t.verify_behind_window_seconds)
    return (
        Alert(
            name="EtlVerifyDiffers",
            severity="critical",
            summary="The sink does not hold what the source holds.",
            description=(
                "{{ .Value | humanize }} points of {{ .Labels.query }} ({{ .Labels.tier }}) are"
                " missing in the sink, differ there, or should not be there; nothing explains it."
            ),
            query=f"max by (query, tier) (\n  {latest(differing, t.bridge_seconds)}\n)",
            limit=Limit(">", 0),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Points that differ"),
        ),
        Alert(
            name="EtlVerifyRepairs",
            severity="warning",
            summary="The sink loses or changes points again and again.",
            description=(
                "{{ .Value | humanize }} ranges of {{ .Labels.query }} ({{ .Labels.tier }}) were"
                f" extracted again in the last {duration(t.verify_repairs_window_seconds)}, because"
                " points of them were missing in the sink or differed there."
            ),
            query=(
                "sum by (query, tier) (\n  "
                + burst(
                    f'etl_verify_repairs_total{{job="{VERIFIER}"}}', t.verify_repairs_window_seconds
                ).replace("\n", "\n  ")
                + f"\n)\nor\n0 * max by (query, tier) ({latest(waiting, t.bridge_seconds)})"
            ),
            limit=Limit(">", t.verify_repairs),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Ranges repaired"),
        ),
        Alert(
            name="EtlVerifyBehind",
            severity="warning",
            summary="What is loaded is not compared with the source any more.",
            description=(
                "{{ .Value | humanizeDuration }} of {{ .Labels.query }} ({{ .Labels.tier }}) wait"
                f" to be compared with the source, and in {window} that did not get less."
            ),
            # One that catches up counts as 0.
            query=(
                f"max by (query, tier) (\n  {latest(waiting, t.bridge_seconds)}\n)\n"
                f"* (\n  max by (query, tier) (delta({waiting}[{window}])) > bool -1\n)"
            ),
            limit=Limit(">", t.verify_behind_seconds),
            for_seconds=t.verify_behind_for_seconds,
            panel=PanelRef(PIPELINE_DASHBOARD, "Not compared yet"),
        ),
    )
