"""The freshness objective, and the alert that is always on.

Multi-window, multi-burn-rate: a budget that burns fast is reported at once, one that burns slowly
in time, and an alert ends soon after its cause because the short window must burn too.
"""

from __future__ import annotations

from monitoring.model import Alert, Limit, PanelRef
from monitoring.recording import FAST_BURN, SLOW_BURN
from monitoring.render.panel_names import PIPELINE_DASHBOARD
from monitoring.thresholds import Thresholds


def alerts(t: Thresholds) -> tuple[Alert, ...]:
    """Alerts on the budget of stale minutes."""
    objective = f"{t.freshness_objective:.4g}"
    return (
        Alert(
            name="EtlFreshnessBudgetBurningFast",
            severity="critical",
            summary="Loaded data is stale; the month's budget would be used up within days.",
            description=(
                "The sink is behind for longer than the objective allows"
                f" ({objective} of all minutes): {{{{ .Value | humanize }}}} times the rate that"
                " needs action at once."
            ),
            query=FAST_BURN,
            limit=Limit(">", 1),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Freshness budget"),
        ),
        Alert(
            name="EtlFreshnessBudgetBurningSlowly",
            severity="warning",
            summary="Loaded data is stale too often to keep the month's objective.",
            description=(
                "The sink is behind more often than the objective allows"
                f" ({objective} of all minutes): {{{{ .Value | humanize }}}} times the rate that"
                " would use up the budget."
            ),
            query=SLOW_BURN,
            limit=Limit(">", 1),
            for_seconds=0,
            panel=PanelRef(PIPELINE_DASHBOARD, "Freshness budget"),
        ),
    )


def watchdog() -> Alert:
    """Fires always: a receiver that stops hearing of it knows that alerting is broken."""
    return Alert(
        name="EtlWatchdog",
        severity="none",
        summary="Alerting works: this alert fires always.",
        description="If a receiver no longer hears of this alert, the way to it is broken.",
        query="vector(1)",
        limit=Limit(">", 0),
        for_seconds=0,
        panel=PanelRef(PIPELINE_DASHBOARD, "Firing alerts"),
    )
