"""The top of ``etl-pipeline``: is all well, and if not, what and since when."""

from __future__ import annotations

from monitoring.alerts.stages import replicas_up
from monitoring.dashboards.grafana import FIRING
from monitoring.dashboards.spec import (
    BYTES,
    COUNT,
    NONE,
    SECONDS,
    SHARE,
    STRIP_HEIGHT,
    PanelSpec,
    Query,
)
from monitoring.model import Limit
from monitoring.recording import FAST_BURN, FEED_FRESHNESS, FRESHNESS, SLOW_BURN, STALE
from monitoring.thresholds import REDIS, VERIFIER, Thresholds

_LOADER = 'job="loader"'
_BUDGET_DAYS = 30


def strip_panels(t: Thresholds) -> tuple[PanelSpec, ...]:
    """Numbers of this moment, each against what it should be; grey is "nobody answers"."""
    budget_minutes = _BUDGET_DAYS * 86_400 / t.slo_evaluation_seconds * (1 - t.freshness_objective)
    return (
        PanelSpec(
            "Behind by",
            "stat",
            "Age of what is loaded, of the hot query that is furthest behind.",
            (Query(FRESHNESS, "hot"),),
            SECONDS,
            width=3,
            height=STRIP_HEIGHT,
            limit=Limit(">", t.freshness_seconds),
        ),
        PanelSpec(
            "Budget left",
            "stat",
            "Share of the stale minutes that a month may have and that are not used up; of the last"
            f" {_BUDGET_DAYS} days, as far as Prometheus keeps them.",
            (
                Query(
                    # Overspent is 0, which is red: below it is the grey of what is unknown.
                    f"clamp_min(1 - sum_over_time({STALE}[{_BUDGET_DAYS}d])"
                    f" / {budget_minutes:g}, 0) and on () {STALE}",
                    "left",
                ),
            ),
            SHARE,
            width=2,
            height=STRIP_HEIGHT,
            limit=Limit("<", 0.25),
            minimum=None,
        ),
        PanelSpec(
            "Replicas up",
            "stat",
            "Processes of each stage that Prometheus can scrape; 0 for a stage of which there is"
            " none.",
            (Query(replicas_up(t), "{{job}}"),),
            COUNT,
            width=5,
            height=STRIP_HEIGHT,
            limit_of="EtlStageDown",
        ),
        PanelSpec(
            "Redis",
            "stat",
            "Whether etl-metrics can read the ledger in Redis, and Redis can write its file.",
            (
                Query(
                    f"max(etl_redis_up{{{REDIS}}}) == 0\n"
                    f"or 1 + min(etl_redis_aof_ok{{{REDIS}}})\n"
                    f"or 2 * max(etl_redis_up{{{REDIS}}})",
                    "Redis",
                ),
            ),
            NONE,
            width=2,
            height=STRIP_HEIGHT,
            values={0: ("DOWN", "red"), 1: ("no file", "red"), 2: ("UP", "green")},
        ),
        PanelSpec(
            "Sink",
            "stat",
            "Whether the sink takes points, as the loader that fares worst sees it.",
            (
                Query(
                    f"max(3 * etl_sink_paused{{{_LOADER}}} > 0 or etl_circuit_state{{{_LOADER}}})",
                    "sink",
                ),
            ),
            NONE,
            width=2,
            height=STRIP_HEIGHT,
            values={
                0: ("works", "green"),
                1: ("tries", "yellow"),
                2: ("away", "red"),
                3: ("refuses", "red"),
            },
        ),
        PanelSpec(
            "In flight",
            "stat",
            "Bytes in the streams and staged beside them.",
            (Query(f"max(etl_in_flight_bytes{{{REDIS}}})", "bytes"),),
            BYTES,
            width=2,
            height=STRIP_HEIGHT,
        ),
        PanelSpec(
            "Dead letters kept",
            "stat",
            "Dead letters that wait for somebody.",
            (Query(f"max(etl_dead_letters_kept{{{REDIS}}})", "kept"),),
            COUNT,
            width=3,
            height=STRIP_HEIGHT,
            limit=Limit(">", 0),
        ),
        PanelSpec(
            "Ledger imbalance",
            "stat",
            "Samples that the ledger cannot account for: 0, always.",
            (Query(f"max(etl_ledger_imbalance_samples{{{REDIS}}})", "samples"),),
            COUNT,
            width=3,
            height=STRIP_HEIGHT,
            limit_of="EtlLedgerOutOfBalance",
        ),
        PanelSpec(
            "Proof waits",
            "stat",
            "Time that is loaded, had its last recount and is not compared yet: of the query of"
            " which most waits.",
            (Query(f'max(etl_verify_waiting_seconds{{job="{VERIFIER}"}})', "waits"),),
            SECONDS,
            width=2,
            height=STRIP_HEIGHT,
            limit=Limit(">", t.verify_behind_seconds),
        ),
    )


def alert_panels(t: Thresholds) -> tuple[PanelSpec, ...]:
    """What fires, since when, and the objective."""
    return (
        PanelSpec(
            "Alerts",
            "alerts",
            "Alerts that fire or are about to, as Grafana sees them; the one that always fires is"
            " left out.",
            (),
            NONE,
            width=8,
        ),
        PanelSpec(
            "Firing alerts",
            "timeline",
            "Alerts that Prometheus saw firing; the one that always fires is left out.",
            (
                Query(
                    f"max by (alertname) ({FIRING})\n"
                    'or on () label_replace(vector(0), "alertname", "none fires", "", "")',
                    "{{alertname}}",
                ),
            ),
            NONE,
            width=16,
            values={0: ("quiet", "green"), 1: ("firing", "red")},
        ),
        PanelSpec(
            "Freshness",
            "lines",
            "Age of the newest time up to which everything is loaded in the hot tier, by query."
            " Rollups are behind by up to the length of their windows: panel Lag of extraction and"
            " loading.",
            (
                Query(f'{FEED_FRESHNESS}{{tier="hot"}}', "{{query}}"),
                Query(FRESHNESS, "hot, furthest behind"),
                Query(f'etl_lag_limit_seconds{{{REDIS}, tier="hot"}}', "{{query}} limit"),
            ),
            SECONDS,
            width=12,
            limit=Limit(">", t.freshness_seconds),
        ),
        PanelSpec(
            "Freshness budget",
            "lines",
            "How fast the month's stale minutes are used up; an alert fires above 1.",
            (Query(FAST_BURN, "fast"), Query(SLOW_BURN, "slow")),
            NONE,
            width=12,
            limit_of="EtlFreshnessBudgetBurningFast",
        ),
    )
