"""All rules, in the groups in which Prometheus evaluates them."""

from __future__ import annotations

from monitoring.alerts import ledger as alerts_ledger
from monitoring.alerts import process as alerts_process
from monitoring.alerts import sink as alerts_sink
from monitoring.alerts import slo as alerts_slo
from monitoring.alerts import source as alerts_source
from monitoring.alerts import stages as alerts_stages
from monitoring.alerts import verification as alerts_verification
from monitoring.model import Alert, Group, Recording
from monitoring.recording import freshness_recordings, slo_recordings
from monitoring.thresholds import Thresholds


def groups(t: Thresholds) -> dict[str, tuple[Group, ...]]:
    """File name (without suffix) → its groups, with the thresholds ``t``."""
    every = t.evaluation_seconds
    return {
        "etl-process": (Group("etl-process", every, alerts=alerts_process.alerts(t)),),
        "etl-pipeline": (
            # Before the alerts that read them.
            Group("etl-recordings", every, recordings=freshness_recordings(t)),
            Group("etl-stages", every, alerts=alerts_stages.alerts(t)),
            Group("etl-backlog", every, alerts=alerts_ledger.backlog_alerts(t)),
            Group("etl-loss", every, alerts=alerts_ledger.loss_alerts(t)),
            Group("etl-sink", every, alerts=alerts_sink.alerts(t)),
            Group("etl-source", every, alerts=alerts_source.alerts(t)),
            Group("etl-verification", every, alerts=alerts_verification.alerts(t)),
            Group("etl-redis", every, alerts=alerts_ledger.redis_alerts(t)),
        ),
        "etl-freshness": (
            Group(
                "etl-freshness",
                t.slo_evaluation_seconds,
                recordings=slo_recordings(t),
                alerts=alerts_slo.alerts(t),
            ),
        ),
        "etl-watchdog": (Group("etl-watchdog", every, alerts=(alerts_slo.watchdog(),)),),
    }


def all_alerts(t: Thresholds) -> tuple[Alert, ...]:
    """Every alert, in the order of the runbook."""
    return tuple(a for file in groups(t).values() for group in file for a in group.alerts)


def all_recordings(t: Thresholds) -> tuple[Recording, ...]:
    """Every recording rule."""
    return tuple(r for file in groups(t).values() for group in file for r in group.recordings)
