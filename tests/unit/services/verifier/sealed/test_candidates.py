"""Which series a query can have written, told without its source."""

from __future__ import annotations

from typing import Any

import pytest

from common.config import Query, RelabelRule
from common.samples.layout import Layout, Place
from common.samples.series import SeriesEncoder
from services.verifier.expect import identify_of
from services.verifier.points import SeriesKey
from services.verifier.sealed.candidates import Candidates, candidates

PRESENT = [
    Place(name)
    for name in ("load", "up", "total", "metric__meta", "etl_seal", "etl_loaded_watermark")
]
RAW = Query(name="raw", select='{job="app",host=~"a.*"}')
UP = Query(name="ups", select='up{job="other"}')
TOTAL = Query(name="total", expr="sum(load)", step=15)


def of(*queries: Query, rules: list[dict[str, Any]] | None = None, **options: Any) -> Any:
    parsed = [RelabelRule.model_validate(rule) for rule in rules or []]
    names = [query.name for query in queries if query.kind == "expr"]
    encoder = SeriesEncoder(parsed, expr_names=names, **options)
    return candidates([(one, identify_of(one, encoder)) for one in queries], PRESENT, parsed)


def owned(one: Candidates, measurement: str = "load", **tags: str) -> bool:
    return one.owns(SeriesKey.of(measurement, tags))


def test_a_selector_owns_what_it_matches() -> None:
    found = of(RAW, TOTAL)
    raw, total = found["raw"], found["total"]
    assert raw.places == {Place("load"), Place("up"), Place("metric__meta")}
    assert raw.tags == {"job": "app"}
    assert owned(raw, job="app", host="a1", zone="x")
    assert not owned(raw, job="app", host="b")
    assert not owned(raw, job="other", host="a1")
    assert not owned(raw, "total", job="app", host="a1")
    assert total.places == {Place("total")}
    assert owned(total, "total", any="thing")
    assert raw.certain and total.certain


def test_values_are_compared_as_the_sink_holds_them() -> None:
    hostile = of(Query(name="hostile", select='load{path="C:\\\\=",zone=""}'))["hostile"]
    assert hostile.tags == {"path": "C:\uff3c="}
    assert owned(hostile, path="C:\uff3c=")
    assert not owned(hostile, path="C:\uff3c=", zone="x")


def test_a_name_that_was_mapped_is_known_again() -> None:
    named = of(Query(name="meta", select='{__name__="_meta"}'))["meta"]
    assert named.places == {Place("metric__meta")}


def test_a_name_of_characters_that_are_mapped_is_known_again() -> None:
    odd, dots = Place("a\uff3cb\u241ba0;c"), Place("process.cpu.time")
    query = Query(name="odd", select='{__name__=~"a.+"}')
    found = candidates([(query, identify_of(query, SeriesEncoder()))], [odd, dots], ())
    assert found["odd"].places == {odd}


def test_a_regex_is_asked_of_the_value_that_the_source_has() -> None:
    disks = of(Query(name="disks", select=r'load{mount=~"[A-Z]:\\\\",line!~".*\\n.*"}'))["disks"]
    assert owned(disks, mount="C:\uff3c")
    assert not owned(disks, mount="C:\uff3c", line="a\u240ab")


def test_only_listed_metrics_are_written() -> None:
    assert of(RAW, valid_metrics=["up"])["raw"].places == {Place("up")}


def test_what_relabelling_gives_every_series_tells_ours_from_another_pipeline_s() -> None:
    rules = [
        {"target_label": "cluster", "replacement": "eu"},
        {"target_label": "zone", "replacement": ""},
    ]
    found = of(RAW, TOTAL, rules=rules)
    raw, total = found["raw"], found["total"]
    assert owned(raw, job="app", host="a", cluster="eu")
    assert not owned(raw, job="app", host="a", cluster="us")
    assert not owned(raw, job="app", host="a", cluster="eu", zone="x")
    assert owned(total, "total", cluster="eu")
    assert not owned(total, "total", cluster="us")
    assert not owned(total, "total")
    assert raw.certain


@pytest.mark.parametrize(
    ("rule", "certain"),
    [
        ({"action": "labeldrop", "regex": "zone|cluster"}, True),
        ({"action": "labeldrop", "regex": "job"}, False),
        ({"action": "labelkeep", "regex": "__name__|job|host"}, True),
        ({"action": "labelkeep", "regex": "__name__|job"}, False),
        ({"action": "labelmap", "regex": "k8s_(.+)"}, False),
        ({"source_labels": ["zone"], "target_label": "job"}, False),
        ({"source_labels": ["zone"], "target_label": "region"}, True),
        ({"source_labels": ["zone"], "target_label": "__name__"}, False),
        ({"source_labels": ["zone"], "regex": "(.*)", "target_label": "$1"}, False),
        ({"action": "drop", "source_labels": ["job"], "regex": "x"}, True),
    ],
)
def test_a_label_that_is_written_proves_nothing(rule: dict[str, Any], certain: bool) -> None:
    raw = of(RAW, UP, rules=[rule])["raw"]
    assert raw.certain is certain
    kept = {"job": "app", "host": "a"}
    for label in raw.rewritten & set(kept):
        del kept[label]
    assert owned(raw, **kept)


def test_the_only_query_that_can_write_a_measurement_owns_it() -> None:
    rules = [{"action": "labeldrop", "regex": "job"}]
    loads = Query(name="loads", select='load{job="app"}')
    found = of(loads, UP, rules=rules)
    assert found["loads"].certain
    assert owned(found["loads"], host="a")
    assert not of(loads, RAW, rules=rules)["loads"].certain


def test_under_a_layout_of_fields_a_query_owns_fields() -> None:
    layout = Layout("prometheus", "${__name__}")
    held = ["load", "up", "total", "metric__meta"]
    present = [Place("prometheus", field) for field in held] + [Place("cpu", "load")]
    meta = Query(name="meta", select='{__name__="_meta"}')
    encoder = SeriesEncoder(expr_names=["total"], layout=layout)
    queries = [(one, identify_of(one, encoder)) for one in (RAW, TOTAL, meta)]

    found = candidates(queries, present, (), layout)

    assert found["raw"].places == set(present[:2]) | {present[3]}
    assert found["total"].places == {Place("prometheus", "total")}
    assert found["meta"].places == {Place("prometheus", "metric__meta")}
    assert found["total"].owns(SeriesKey.of("prometheus", {"a": "b"}, "total"))
    assert not found["total"].owns(SeriesKey.of("prometheus", {"a": "b"}, "up"))
    renamed = [RelabelRule(target_label="__name__", replacement="x")]
    assert candidates(queries[:1], present, renamed, layout)["raw"].places == set(present[:4])


def test_classic_series_of_native_histograms_are_owned() -> None:
    query = Query(name="raw", select="load", native_histograms="classic")
    present = [Place(name) for name in ("load", "load_bucket", "load_sum", "load_total")]
    encoder = SeriesEncoder()
    (found,) = candidates([(query, identify_of(query, encoder))], present, ()).values()
    assert found.places == set(present[:3])
    assert owned(found, "load_bucket", le="0.5")
    excluding = query.model_copy(update={"select": '{job="a",__name__!~"load|load_sum"}'})
    (found,) = candidates([(excluding, identify_of(excluding, encoder))], present, ()).values()
    assert found.places == {present[1], present[3]}


def test_histograms_of_an_expression_are_owned_by_no_select() -> None:
    total = TOTAL.model_copy(update={"native_histograms": "classic"})
    every = Query(name="all", select='{job="app"}')
    present = [Place(name) for name in ("load", "total", "total_count", "total_max")]
    encoder = SeriesEncoder(expr_names=total.names)
    queries = [(one, identify_of(one, encoder)) for one in (total, every)]
    found = candidates(queries, present, ())
    assert found["total"].places == set(present[1:3])
    assert found["all"].places == {present[0], present[3]}


def test_fields_of_histograms_are_owned_by_who_may_write_the_series() -> None:
    total = TOTAL.model_copy(update={"native_histograms": "classic"})
    loads = Query(name="loads", select='load_bucket{le="1"}')
    layout = Layout(histograms="fields")
    held = [("load", "1"), ("load", "count"), ("total", "2"), ("total", "count"), ("total", "max")]
    present = [Place(*one) for one in held]
    encoder = SeriesEncoder(expr_names=total.names, layout=layout)
    queries = [(one, identify_of(one, encoder)) for one in (total, loads)]
    found = candidates(queries, present, (), layout)
    assert found["total"].places == set(present[2:4])
    assert found["loads"].places == {present[0]}
    assert found["loads"].tags == {}
    assert found["loads"].owns(SeriesKey.of("load", {"a": "b"}, "1"))
