"""The tables of metrics and events, held to the code that uses them and to the documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from common.runtime.events_table import EVENTS
from common.runtime.log_writer import DROPPED_EVENT
from common.runtime.metrics_table import METRICS, STANDARD_METRICS, MetricSpec
from devtools import PROJECT_ROOT
from devtools.docs.metrics import render

ROOT = PROJECT_ROOT
CODE = ("common", "services")
METHODS = {"emit", "inc", "set", "observe"}
OWNERS = ("telemetry", "events", "page")
KIND_OF = {"inc": "counter", "set": "gauge", "observe": "histogram"}

SPECS = {spec.name: spec for spec in METRICS}
# Counted inside Telemetry itself, or read by it at each scrape.
BY_TELEMETRY = {spec.name for spec in STANDARD_METRICS}


@dataclass(frozen=True)
class Call:
    where: str
    method: str
    names: tuple[str, ...]  # the texts that the first argument may be
    keywords: frozenset[str]
    open_ended: bool  # has ** among its arguments


@cache
def _calls() -> tuple[Call, ...]:
    return tuple(
        call
        for folder in CODE
        for path in sorted((ROOT / folder).rglob("*.py"))
        for call in _calls_in(path)
    )


def _calls_in(path: Path) -> Iterator[Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = ast.unparse(node.func.value)
        if node.func.attr not in METHODS or not any(name in owner for name in OWNERS):
            continue
        if not node.args:
            continue
        yield Call(
            f"{path.relative_to(ROOT)}:{node.lineno}",
            node.func.attr,
            tuple(_texts(node.args[0])),
            frozenset(keyword.arg for keyword in node.keywords if keyword.arg),
            any(keyword.arg is None for keyword in node.keywords),
        )


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)


def test_calls_are_found_and_name_what_they_mean() -> None:
    assert len(_calls()) > 40
    for call in _calls():
        # Telemetry itself passes on a name that it has looked up.
        assert call.names or call.where.startswith("common/runtime/telemetry.py"), call


def test_every_call_uses_a_name_of_the_tables_with_its_labels() -> None:
    for call in _calls():
        for name in call.names:
            if call.method == "emit":
                assert name in EVENTS, call
                labels = set(EVENTS[name].labels)
                assert call.open_ended or labels <= call.keywords, call
            else:
                assert name in SPECS, call
                assert SPECS[name].kind == KIND_OF[call.method], call
                given = call.keywords - {"amount", "value"}
                assert call.open_ended or given == set(SPECS[name].labels), call


def test_every_event_of_the_table_is_emitted() -> None:
    emitted = {name for call in _calls() if call.method == "emit" for name in call.names}
    # The log itself writes that one, where it has no room for an event.
    assert EVENTS.keys() - emitted == {DROPPED_EVENT}


def test_every_metric_of_the_table_is_written() -> None:
    written = {name for call in _calls() if call.method != "emit" for name in call.names}
    moved = {spec.metric for spec in EVENTS.values()}
    assert SPECS.keys() - written - moved - BY_TELEMETRY == set()


@pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
def test_name_follows_the_conventions(spec: MetricSpec) -> None:
    assert re.fullmatch(r"etl_[a-z0-9_]+", spec.name)
    assert (spec.kind == "counter") == spec.name.endswith("_total")
    assert not re.search(r"_(ms|millis|milliseconds|kb|mb|minutes|percent)(_|$)", spec.name)
    assert not {"id", "window", "entry", "token", "url", "error", "detail"} & set(spec.labels)
    assert spec.help[0].isupper() or spec.help[0].isdigit()
    assert not spec.help.endswith(".")
    assert bool(spec.buckets) == (spec.kind == "histogram")
    assert spec.services


def test_names_are_unique() -> None:
    assert len(SPECS) == len(METRICS)


def test_the_vocabulary_that_stages_and_the_simulated_process_share() -> None:
    assert {spec.name for spec in STANDARD_METRICS} == {
        "etl_records_total",
        "etl_files_total",
        "etl_failures_total",
        "etl_current_rate_records_per_second",
        "etl_avg_processing_time_seconds",
        "etl_seconds_since_last_success",
        "etl_health_status",
        "etl_uptime_seconds",
        "etl_errors_by_type_total",
    }


def test_event_moves_only_counters() -> None:
    for name, spec in EVENTS.items():
        assert spec.metric is None or SPECS[spec.metric].kind == "counter", name


def test_document_is_what_the_tables_say() -> None:
    """Render it again with `python -m devtools.docs.metrics > docs/metrics.md`."""
    assert (ROOT / "docs" / "metrics.md").read_text() == render()
