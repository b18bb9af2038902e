"""Rules and dashboards name only metrics that somebody exports, and labels that these have."""

from __future__ import annotations

import re

import pytest

from common.runtime.metrics_table import ETL_METRICS, METRICS
from common.state.keys import STREAMS
from monitoring.catalogue import all_alerts, all_recordings
from monitoring.dashboards import DASHBOARDS
from monitoring.thresholds import PROMETHEUS, STAGES, TEST_APP, VERIFIER, Thresholds
from tests.support.promql_names import Selector, label_lists, selectors

T = Thresholds()
SPECS = {spec.name: spec for spec in METRICS}
RECORDED = {recording.record for recording in all_recordings(T)}
# Made by Prometheus itself, and by the Prometheus client of every process.
PROMETHEUS_OWN = {"up": set[str](), "ALERTS": {"alertname", "alertstate", "severity"}}
CLIENT_OWN = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
TARGET_LABELS = {"job", "instance"}
JOBS = {*STAGES, VERIFIER, ETL_METRICS, TEST_APP, PROMETHEUS}
_VARIABLES = {"$__rate_interval": "1m", "$__range": "1h", "$job": ".+", "$instance": ".+"}


def expressions() -> dict[str, str]:
    """Everything that is evaluated: where it stands → PromQL without Grafana's variables."""
    found = {f"alert {alert.name}": alert.expr for alert in all_alerts(T)}
    found |= {f"record {recording.record}": recording.expr for recording in all_recordings(T)}
    for board in DASHBOARDS:
        for row in board.rows:
            for panel in row.panels:
                for number, query in enumerate(panel.queries):
                    where = f"{board.uid} {panel.title} {number}"
                    found[where] = substitute(query.expr)
    return found


def substitute(expr: str) -> str:
    """Grafana's variables replaced by what they stand for."""
    for name, value in _VARIABLES.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


EXPRESSIONS = expressions()

each_expression = pytest.mark.parametrize("where", EXPRESSIONS)


def _labels_of(metric: str) -> set[str] | None:
    """Labels of an exported metric; None for one that nobody exports."""
    if metric in PROMETHEUS_OWN:
        return PROMETHEUS_OWN[metric]
    if metric in CLIENT_OWN:
        return set()
    base = re.sub(r"_(bucket|sum|count)$", "", metric)
    spec = SPECS.get(metric)
    if spec is not None and spec.kind != "histogram":
        return set(spec.labels)
    if base != metric and base in SPECS and SPECS[base].kind == "histogram":
        return {*SPECS[base].labels, "le"}
    return None


@each_expression
def test_names_only_metrics_that_are_exported_or_recorded(where: str) -> None:
    for selector in selectors(EXPRESSIONS[where]):
        assert selector.metric in RECORDED or _labels_of(selector.metric) is not None, selector


@each_expression
def test_matches_only_labels_and_values_that_exist(where: str) -> None:
    for selector in selectors(EXPRESSIONS[where]):
        known = TARGET_LABELS | (_labels_of(selector.metric) or set())
        if selector.metric in RECORDED:
            # The name of a record begins with what it is aggregated by.
            known = set(selector.metric.partition(":")[0].split("_"))
        for label, operator, value in selector.matchers:
            assert label in known, (label, selector)
            if label == "job" and value != ".+":
                assert set(value.split("|")) <= JOBS, selector
            if label == "stream":
                assert value in STREAMS
            assert operator in ("=", "!=", "=~")


@each_expression
def test_groups_only_by_labels_that_exist(where: str) -> None:
    known = set(TARGET_LABELS)
    for selector in selectors(EXPRESSIONS[where]):
        known |= _labels_of(selector.metric) or set()
    assert label_lists(EXPRESSIONS[where]) <= known


@each_expression
def test_a_selector_matches_jobs_that_export_its_metric(where: str) -> None:
    for selector in selectors(EXPRESSIONS[where]):
        spec = SPECS.get(re.sub(r"_(bucket|sum|count)$", "", selector.metric))
        jobs = {label: value for label, _, value in selector.matchers}.get("job", ".+")
        if spec is not None and jobs != ".+":
            assert set(jobs.split("|")) & set(spec.services), selector


def test_every_recording_is_used() -> None:
    used = {s.metric for text in EXPRESSIONS.values() for s in selectors(text)}
    assert used >= RECORDED


@pytest.mark.parametrize(
    ("expr", "metrics"),
    [
        ("up", ["up"]),
        ('sum by (job) (rate(a_total{job=~"x|y", b="c"}[5m]))', ["a_total"]),
        ("a unless a offset 1h and on (job, instance) (b == 1)", ["a", "a", "b"]),
        ("max(a) * on (x) group_left () (sum by (x) (b) == bool 0)", ["a", "b"]),
        ("histogram_quantile(0.95, sum by (le) (rate(a_bucket[1m])))", ["a_bucket"]),
        ("vector(1) > 0", []),
        ("a:b:c / 1e-9", ["a:b:c"]),
    ],
)
def test_reader_finds_the_metrics(expr: str, metrics: list[str]) -> None:
    assert [selector.metric for selector in selectors(expr)] == metrics


def test_reader_finds_matchers_and_labels() -> None:
    expr = 'sum by (job, le) (a{b="c", d=~"e|f"})'
    assert selectors(expr) == [Selector("a", (("b", "=", "c"), ("d", "=~", "e|f")))]
    assert label_lists(expr) == {"job", "le"}
    assert selectors("a @ end() + b") == [Selector("a", ()), Selector("b", ())]


def test_reader_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="'~ b'"):
        selectors("a ~ b")
