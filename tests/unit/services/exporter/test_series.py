"""Pages of series and how they are shown."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from common.runtime.metrics_table import ETL_METRICS, METRICS
from services.exporter.series import Page, PageCollector, PublishedPage


class Clock:
    def __init__(self) -> None:
        self.now = 10.0

    def __call__(self) -> float:
        return self.now


def shown(registry: Any) -> dict[str, float]:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    text = generate_latest(registry).decode()
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def page(entries: float) -> Page:
    telemetry = Page()
    telemetry.set("etl_stream_entries", entries, stream="raw")
    telemetry.inc("etl_records_total", 5)
    return telemetry


def test_a_page_is_shown_with_the_help_of_the_table() -> None:
    registry = CollectorRegistry()
    registry.register(PageCollector([lambda: page(3)]))
    assert shown(registry) == {"etl_stream_entries['raw']": 3, "etl_records_total[]": 5}
    text = generate_latest(registry).decode()
    assert "# HELP etl_stream_entries Entries in a stream\n" in text
    assert "# TYPE etl_records_total counter\n" in text


def test_what_a_new_page_does_not_have_is_gone() -> None:
    clock = Clock()
    published = PublishedPage(clock)
    registry = CollectorRegistry()
    registry.register(PageCollector([published]))
    assert shown(registry) == {}
    published.publish(page(3), 60)
    published.publish(Page(), 60)
    assert shown(registry) == {}


def test_a_page_that_is_too_old_is_not_shown() -> None:
    clock = Clock()
    published = PublishedPage(clock)
    published.publish(page(3), 60)
    clock.now += 60
    assert published() is not None
    clock.now += 1
    assert published() is None


def test_sources_share_a_metric_and_add_to_each_other() -> None:
    one, other, third = Page(), Page(), Page()
    one.set("etl_workers", 1, stage="loader")
    other.set("etl_workers", 2, stage="extractor")
    third.set("etl_workers", 3, stage="transformer")
    other.add(third)
    registry = CollectorRegistry()
    registry.register(PageCollector([lambda: one, lambda: None, lambda: other]))
    assert shown(registry) == {
        "etl_workers['loader']": 1,
        "etl_workers['extractor']": 2,
        "etl_workers['transformer']": 3,
    }


def test_a_scrape_may_choose_by_name() -> None:
    registry = CollectorRegistry()
    registry.register(PageCollector([lambda: page(3)]))
    assert shown(registry.restricted_registry(["etl_stream_entries"])) == {
        "etl_stream_entries['raw']": 3
    }


def test_counters_add_up_within_a_page() -> None:
    telemetry = page(1)
    telemetry.inc("etl_records_total", 2)
    assert telemetry.values["etl_records_total"] == {(): 7}


def test_a_name_or_label_that_the_table_does_not_have_is_a_defect() -> None:
    telemetry = Page()
    wrong: list[Any] = [
        lambda: telemetry.set("etl_no_such_thing", 1),
        lambda: telemetry.set("etl_records_total", 1),
        lambda: telemetry.inc("etl_stream_entries", 1, stream="raw"),
        lambda: telemetry.set("etl_stream_entries", 1),
        lambda: telemetry.set("etl_circuit_state", 1),
    ]
    for call in wrong:
        with pytest.raises(KeyError):
            call()


def test_no_metric_of_etl_metrics_needs_more_than_a_page_can_hold() -> None:
    ours = [spec for spec in METRICS if ETL_METRICS in spec.services]
    assert {spec.kind for spec in ours} == {"counter", "gauge"}
