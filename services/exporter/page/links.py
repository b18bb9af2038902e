"""Where the runbook says what to do about a finding."""

from __future__ import annotations

from dataclasses import dataclass

# Kind of finding → the alert that speaks of the same, whose section in the runbook helps.
ALERTS = {
    "not_accounted": "EtlLedgerOutOfBalance",
    "differs": "EtlVerifyDiffers",
    "dead_letters_full": "EtlDeadLettersNearCap",
    "back_pressure": "EtlBackPressureLasting",
    "not_running": "EtlStageDown",
    "config_refused": "EtlConfigRefused",
    "not_ready": "EtlHealthCheckFailed",
    "behind": "EtlFreshnessBudgetBurningFast",
    "windows_wait": "EtlWindowFailing",
    "not_planned": "EtlStageStalled",
    "matches_nothing": "EtlQueryEmpty",
    "backfill_fails": "EtlWindowFailing",
    # Of this page alone.
    "redis_unreadable": "EtlRedisUnreachable",
    "incomplete": "EtlMetricsEndpointUnavailable",
    "log_unreadable": "EtlProcessLogUnreadable",
    "process_unhealthy": "EtlHealthCheckFailed",
}
_RUNBOOK_DASHBOARD = "d/etl-runbook"


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses as they are configured."""

    runbook_url: str | None = None
    grafana_url: str | None = None

    def runbook(self, kind: str) -> dict[str, str | None]:
        """The section about a finding: its name, and where it is."""
        alert = ALERTS[kind]
        url = None
        if self.runbook_url is not None:
            url = f"{self.runbook_url}#{alert.lower()}"
        elif self.grafana_url is not None:
            url = f"{self.grafana_url.rstrip('/')}/{_RUNBOOK_DASHBOARD}"
        return {"section": alert, "url": url}
