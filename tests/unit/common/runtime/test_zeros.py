"""Counters whose labels are known begin at 0, so that a rate sees their first event."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from common.runtime.metrics.spec import FEED
from common.runtime.metrics.zeros import known_labels
from common.runtime.metrics_table import METRICS
from common.runtime.telemetry import Telemetry
from common.runtime.undeliverable import PAYLOAD_LOST
from common.samples.series import SeriesDrop
from services.extractor.extract import NATIVE_HISTOGRAM
from services.loader.admission import CircuitState
from services.loader.lines import REASONS
from services.loader.responses import FAILURES, PAUSES
from services.transformer.clean import SampleDrop
from services.transformer.rollup import ROLLED_UP

SPECS = {spec.name: spec for spec in METRICS}


def known(name: str, service: str, label: str) -> set[str]:
    return {labels[label] for labels in known_labels(SPECS[name], service)}


def test_the_values_are_those_that_the_services_count() -> None:
    dropped = "etl_dropped_samples_total"
    assert known(dropped, "extractor", "reason") == {NATIVE_HISTOGRAM}
    assert known(dropped, "transformer", "reason") == {
        *(drop.value for drop in (*SeriesDrop, *SampleDrop)),
        ROLLED_UP,
        PAYLOAD_LOST,
    }
    assert known(dropped, "loader", "reason") == {"beyond_retention", PAYLOAD_LOST}
    assert known("etl_dead_letters_total", "loader", "reason") >= set(REASONS.values()) - {
        "beyond_retention"
    }
    assert known("etl_circuit_changes_total", "loader", "state") == {
        state.name.lower() for state in CircuitState
    }
    assert known("etl_sink_pauses_total", "loader", "cause") == {kind.value for kind in PAUSES}
    assert known("etl_sink_failures_total", "loader", "cause") > {kind.value for kind in FAILURES}


@pytest.mark.parametrize("service", ["extractor", "transformer", "loader", "verifier"])
def test_every_counter_of_a_stage_or_a_feed_is_0_from_the_start(service: str) -> None:
    registry = CollectorRegistry()
    Telemetry(service, registry).expect_feeds([("q", "hot"), ("q", "warm")])
    for spec in METRICS:
        if spec.kind != "counter" or service not in spec.services:
            continue
        if spec.labels == FEED:
            for tier in ("hot", "warm"):
                labels = {"query": "q", "tier": tier}
                assert registry.get_sample_value(spec.name, labels) == 0, spec.name
        elif spec.labels == ("stage",):
            assert registry.get_sample_value(spec.name, {"stage": service}) == 0, spec.name


def test_an_open_label_is_left_out() -> None:
    registry = CollectorRegistry()
    Telemetry("extractor", registry)
    series = [s for family in registry.collect() for s in family.samples]
    assert not [s for s in series if s.name == "etl_errors_by_type_total"]
