"""Counters whose labels are known begin at 0, so that a rate sees their first event."""

from __future__ import annotations

import ast
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry

from common.errors import SinkError, SinkSlow, SourceError
from common.runtime.metrics.spec import FEED
from common.runtime.metrics.zeros import known_labels
from common.runtime.metrics_table import METRICS
from common.runtime.telemetry import Telemetry
from common.runtime.undeliverable import PAYLOAD_LOST
from common.samples.series import SeriesDrop
from common.source import transport  # noqa: F401
from common.source.remote_read.doubt import Reason
from devtools import PROJECT_ROOT
from services.extractor.extract import NATIVE_HISTOGRAM
from services.extractor.push.receive import STALE_MARKER
from services.loader.admission import CircuitState
from services.loader.lines import CORRUPT, REASONS
from services.loader.responses import FAILURES, PAUSES, Kind
from services.transformer.clean import SampleDrop
from services.transformer.rollup import ROLLED_UP

SPECS = {spec.name: spec for spec in METRICS}
# Modules of the source's client add kinds of their own to those of common/errors.py.
SOURCE_ERRORS = {
    error.__name__
    for kind in SourceError.__subclasses__()
    for error in (kind, *kind.__subclasses__())
    if error.__module__.startswith("common.")
}


def known(name: str, service: str, label: str) -> set[str]:
    return {labels[label] for labels in known_labels(SPECS[name], service)}


def reasons_written_in(module: str) -> set[str]:
    """The reasons of dead letters that stand in a module, as the first text of what makes one."""
    tree = ast.walk(ast.parse((PROJECT_ROOT / module).read_text(encoding="utf-8")))
    makers = {"DeadLetter", "_dead", "whole_as_dead_letter"}
    found: set[str] = set()
    for call in (node for node in tree if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id in makers:
            for argument in call.args[:2]:
                texts = [one.value for one in ast.walk(argument) if isinstance(one, ast.Constant)]
                found.update(one for one in texts if isinstance(one, str))
    return found


def test_the_values_are_those_that_the_services_count() -> None:
    dropped = "etl_dropped_samples_total"
    assert known(dropped, "extractor", "reason") == {NATIVE_HISTOGRAM, STALE_MARKER}
    assert known(dropped, "transformer", "reason") == {
        *(drop.value for drop in (*SeriesDrop, *SampleDrop)),
        ROLLED_UP,
        PAYLOAD_LOST,
    }
    assert known(dropped, "loader", "reason") == {"beyond_retention", PAYLOAD_LOST}
    assert known("etl_dead_letters_total", "loader", "reason") == {
        *REASONS.values(),
        CORRUPT,
        *reasons_written_in("common/runtime/undeliverable.py"),
    }
    assert known("etl_dead_letters_total", "transformer", "reason") == {
        *reasons_written_in("services/transformer/transform.py"),
        *reasons_written_in("common/runtime/undeliverable.py"),
    }
    assert known("etl_circuit_changes_total", "loader", "state") == {
        state.name.lower() for state in CircuitState
    }
    assert known("etl_sink_pauses_total", "loader", "cause") == {kind.value for kind in PAUSES}
    assert known("etl_sink_failures_total", "loader", "cause") > {kind.value for kind in FAILURES}
    assert known("etl_sink_posts_total", "loader", "response") == {kind.value for kind in Kind}
    assert known("etl_errors_by_type_total", "extractor", "error_type") == SOURCE_ERRORS
    fallbacks = "etl_remote_read_fallbacks_total"
    for service in ("extractor", "verifier"):
        assert known(fallbacks, service, "reason") == set(get_args(Reason))
    proving = {*SOURCE_ERRORS, SinkError.__name__, SinkSlow.__name__}
    assert known("etl_errors_by_type_total", "verifier", "error_type") == proving


@pytest.mark.parametrize("service", ["extractor", "transformer", "loader", "verifier"])
def test_every_counter_of_a_stage_or_a_feed_is_0_from_the_start(service: str) -> None:
    registry = CollectorRegistry()
    Telemetry(service, registry).expect_feeds([("q", "hot"), ("q", "warm")])
    for spec in METRICS:
        if spec.kind != "counter" or service not in spec.services:
            continue
        if set(FEED) <= set(spec.labels):
            errors = [{"error_type": name} for name in SOURCE_ERRORS]
            for tier in ("hot", "warm"):
                for more in errors if "error_type" in spec.labels else [{}]:
                    labels = {"query": "q", "tier": tier, **more}
                    assert registry.get_sample_value(spec.name, labels) == 0, spec.name
        elif spec.labels == ("stage",):
            assert registry.get_sample_value(spec.name, {"stage": service}) == 0, spec.name


def test_an_open_label_is_left_out() -> None:
    registry = CollectorRegistry()
    Telemetry("transformer", registry)
    series = [s for family in registry.collect() for s in family.samples]
    assert not [s for s in series if s.name == "etl_errors_by_type_total"]
