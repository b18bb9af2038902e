"""Every panel that shows what an alert compares has the limit drawn in; exemptions are named."""

from __future__ import annotations

from monitoring.alerts.unreachable import UNREACHABLE
from monitoring.catalogue import all_alerts
from monitoring.dashboards import DASHBOARDS
from monitoring.dashboards.spec import PanelSpec
from monitoring.model import PanelRef
from monitoring.recording import FAST_BURN, FEED_FRESHNESS, FRESHNESS, SLOW_BURN
from monitoring.thresholds import Thresholds
from tests.support.promql_names import selectors

T = Thresholds()
ALERTS = (*all_alerts(T), UNREACHABLE)
PANELS = {
    PanelRef(spec.uid, panel.title): panel
    for spec in DASHBOARDS
    for row in spec.rows
    for panel in row.panels
}
# Panels of an alert without its limit, and why.
EXEMPT = {
    "Batches": "the alert is about a rate of 0 while work waits; 0 alone is no fault",
    "Bytes in flight": "extraction pauses at pipeline.high_water_bytes, which is configuration",
    "Dead letters": "the cap is a line of its own, by what is configured; any growth is news",
    "Dropped samples": "any sample of three of the reasons is news, of others normal",
    "Entries in the streams": "entries wait all the time; that none is finished is the fault",
    "Gaps": "a gap stays; one more is news",
    "Loader: waits": "entries wait all the time; that none is finished is the fault",
    "Ranges repaired": "the alert counts six hours, the panel a moment",
    "Redis memory": "the limit is a line of its own, by what is configured",
    "Seals": "seals wait all the time; that none is written is the fault",
    "Sink failures and pauses": "any point over a limit is news; the other lines have none",
    "Transformer: waits": "entries wait all the time; that none is finished is the fault",
}


def has_limit(panel: PanelSpec) -> bool:
    """A line or colours; where each value is a state of its own, these have the colours."""
    return bool(panel.limit_of or panel.limit or panel.values)


def metrics(query: str) -> set[str]:
    """Names of the metrics of a query, variables of Grafana taken away."""
    for variable in ("$__rate_interval", "$__range"):
        query = query.replace(variable, "5m")
    return {selector.metric for selector in selectors(query)}


def of_alerts() -> set[str]:
    """Titles of the panels that alerts lead to, or that show a gauge which one compares."""
    titles = {alert.panel.title for alert in ALERTS if PANELS[alert.panel].kind != "alerts"}
    gauges = {
        name
        for alert in ALERTS
        for name in metrics(alert.query)
        if name.startswith(("etl_", "etl:")) and not name.endswith(("_total", "_uptime_seconds"))
    }
    return titles | {
        ref.title
        for ref, panel in PANELS.items()
        if any(metrics(query.expr) & gauges for query in panel.queries)
    }


def test_what_an_alert_compares_has_its_limit() -> None:
    without = {ref.title for ref, panel in PANELS.items() if not has_limit(panel)}
    assert of_alerts() & without == set(EXEMPT)


def test_what_the_objective_is_about_has_its_limit() -> None:
    for ref, panel in PANELS.items():
        shown = {name for query in panel.queries for name in metrics(query.expr)}
        if shown & {FRESHNESS, FEED_FRESHNESS} and panel.kind in ("lines", "stat"):
            assert panel.limit and panel.limit.value == T.freshness_seconds, ref.title
        if shown & {FAST_BURN, SLOW_BURN}:
            assert panel.limit_of == "EtlFreshnessBudgetBurningFast", ref.title


def test_a_limit_is_that_of_an_alert_of_the_same_panel_or_a_number_of_its_own() -> None:
    for ref, panel in PANELS.items():
        assert not (panel.limit and panel.limit_of), ref.title
        if panel.limit_of:
            (alert,) = [alert for alert in ALERTS if alert.name == panel.limit_of]
            assert alert.panel == ref


def test_a_limit_beside_lines_of_what_is_chosen_has_one_line_of_all() -> None:
    """Which of many jobs or replicas is nearest to it, nobody sees at a glance."""
    exempt = {
        "Processing rate": "the limit is that of the simulated process, which is one line",
        "Retention unknown": "replicas say the same of a tier",
        "Configuration refused": "0 or 1, and each of few jobs stands for itself",
    }
    without = {
        ref.title
        for ref, panel in PANELS.items()
        if panel.kind == "lines"
        and (panel.limit or panel.limit_of)
        and any("$instance" in query.expr and "{{" in query.legend for query in panel.queries)
        and not any(query.legend.startswith("all, ") for query in panel.queries)
    }
    assert without == set(exempt)
