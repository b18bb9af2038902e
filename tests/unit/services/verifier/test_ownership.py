"""Which series of the sink a query can have written."""

from __future__ import annotations

from typing import Any

import pytest

from common.config import Query, RelabelRule
from common.samples.layout import ANY_BOUND, DEFAULT_LAYOUT, Layout, Place
from common.samples.series import SeriesEncoder
from services.verifier.expect import identify_of
from services.verifier.ownership import PossiblePlaces, owner, places_of
from services.verifier.points import SeriesKey

SELECT = Query(name="raw", select='{job="app",__name__=~"m.*",code!~"5.."}')
EXPR = Query(name="rate", expr="sum(rate(m[5m]))", step=15)
NAMES = ("m1", "m 2", "_m3")


def places(
    query: Query,
    *rules: RelabelRule,
    valid: tuple[str, ...] = (),
    layout: Layout = DEFAULT_LAYOUT,
) -> frozenset[Place]:
    encoder = SeriesEncoder(rules, valid_metrics=valid, expr_names=("rate",))
    return places_of(query, identify_of(query, encoder), lambda text: NAMES, rules, layout)


def at(*measurements: str) -> frozenset[Place]:
    return frozenset(map(Place, measurements))


def rule(**fields: Any) -> RelabelRule:
    return RelabelRule(**fields)


def test_an_expression_has_its_own_measurement() -> None:
    assert places(EXPR) == at("rate")
    owns = owner(EXPR, places(EXPR), ())
    assert owns(SeriesKey.of("rate", {"any": "tag"}))
    assert not owns(SeriesKey.of("m1", {}))


def test_an_expression_that_carries_histograms_has_several() -> None:
    carrying = EXPR.model_copy(update={"native_histograms": "classic"})
    written = at("rate", "rate_bucket", "rate_count", "rate_sum")
    assert places(carrying) == written
    assert places(carrying, valid=("rate_*",)) == written - at("rate")
    possible = PossiblePlaces(carrying, DEFAULT_LAYOUT)
    assert all(place in possible for place in written)
    assert Place("rate_max") not in possible
    assert owner(carrying, written, ())(SeriesKey.of("rate_bucket", {"le": "1"}))


def test_a_select_has_the_measurements_of_the_metrics_that_prometheus_knows() -> None:
    assert places(SELECT) == at("m1", "m 2", "metric__m3")


def test_under_a_layout_of_fields_a_query_owns_fields() -> None:
    layout = Layout("prometheus", "${__name__}")
    assert places(SELECT, layout=layout) == {
        Place("prometheus", "m1"),
        Place("prometheus", "m 2"),
        Place("prometheus", "metric__m3"),
    }
    owns = owner(EXPR, places(EXPR, layout=layout), ())
    assert owns(SeriesKey.of("prometheus", {}, "rate"))
    assert not owns(SeriesKey.of("prometheus", {}, "m1"))


def test_a_query_owns_the_fields_of_its_histograms() -> None:
    layout = Layout(histograms="fields")
    query = Query(name="raw", select='{job="app",__name__=~"m.*"}', native_histograms="classic")
    found = places(query, layout=layout)
    assert {Place("m1", "count"), Place("m1", "sum"), Place("m1", ANY_BOUND)} <= found
    owns = owner(query, found, ())
    for field in ("value", "count", "sum", "0.5", "+Inf"):
        assert owns(SeriesKey.of("m1", {"job": "app"}, field))
        assert not owns(SeriesKey.of("m9", {"job": "app"}, field))
    assert not owns(SeriesKey.of("m1", {"job": "app"}, "usage"))
    assert Place("m1", "0.5") in PossiblePlaces(query, layout)
    rate = EXPR.model_copy(update={"native_histograms": "classic"})
    assert owner(rate, places(rate, layout=layout), ())(SeriesKey.of("rate", {}, "2"))
    assert Place("rate", "2") in PossiblePlaces(rate, layout)
    assert Place("rate", "2") not in PossiblePlaces(EXPR, layout)


def test_labels_of_the_source_tell_pipelines_apart() -> None:
    ours = {"job": "app", "code": "200", "site": "north"}
    labelled = SELECT.bound(15, {}, {"site": "north"})
    owns = owner(labelled, places(labelled), ())
    assert owns(SeriesKey.of("m1", ours))
    assert not owns(SeriesKey.of("m1", {**ours, "site": "south"}))
    identify = identify_of(labelled, SeriesEncoder())
    assert identify({"__name__": "m1", "site": "own"}) == SeriesKey.of("m1", {"site": "north"})
    # What a rule makes of them later counts, and tags prove nothing of a label that was replaced.
    drop = rule(action="labeldrop", regex="site")
    assert owner(EXPR.bound(15, {}, {"site": "north"}), at("rate"), (drop,))(
        SeriesKey.of("rate", {})
    )
    replaced = SELECT.bound(15, {}, {"job": "all"})
    assert places(replaced) == frozenset()


def test_metrics_that_are_not_wanted_are_not_read() -> None:
    assert places(SELECT, valid=("m1",)) == at("m1")
    assert places(EXPR, valid=("m1",)) == frozenset()


def test_a_rule_that_drops_for_lack_of_a_label_hides_no_measurement() -> None:
    keep = rule(source_labels=["job"], regex="app", action="keep")
    assert places(SELECT, keep) == places(SELECT)
    assert places(EXPR, keep) == at("rate")


@pytest.mark.parametrize(
    ("measurement", "tags", "owned"),
    [
        ("m1", {"job": "app"}, True),
        ("m1", {"job": "app", "code": "200"}, True),
        ("m1", {"job": "app", "code": "503"}, False),
        ("m1", {"job": "web"}, False),
        ("m1", {}, False),
        ("other", {"job": "app"}, False),
    ],
)
def test_tags_must_satisfy_the_selector(
    measurement: str, tags: dict[str, str], owned: bool
) -> None:
    assert owner(SELECT, places(SELECT), ())(SeriesKey.of(measurement, tags)) is owned


def test_a_value_is_compared_as_the_source_has_it() -> None:
    query = Query(name="disks", select=r'm1{mount=~"[A-Z]:\\\\"}')
    owns = owner(query, at("m1"), ())
    assert owns(SeriesKey.of("m1", {"mount": "C:\uff3c"}))
    assert not owns(SeriesKey.of("m1", {"mount": "C:"}))


def test_a_label_is_compared_under_the_key_that_the_sink_has() -> None:
    query = Query(name="raw", select='m1{time="x"}')
    assert owner(query, at("m1"), ())(SeriesKey.of("m1", {"label_time": "x"}))


@pytest.mark.parametrize(
    ("matcher", "mine", "foreign"), [('le="0.5"', "0.5", "1"), ('le!="0.5"', "1", "0.5")]
)
def test_a_matcher_of_the_bound_is_asked_of_the_field_that_holds_it(
    matcher: str, mine: str, foreign: str
) -> None:
    layout = Layout(histograms="fields")
    query = Query(name="raw", select=f"m1_bucket{{{matcher}}}")
    for known in (frozenset({Place("m1", ANY_BOUND)}), PossiblePlaces(query, layout)):
        owns = owner(query, known, ())
        assert owns(SeriesKey.of("m1", {}, mine))
        assert not owns(SeriesKey.of("m1", {}, foreign))


@pytest.mark.parametrize(
    "rewriting",
    [
        rule(target_label="job", replacement="x"),
        rule(target_label="__name__", replacement="x"),
        rule(source_labels=["a"], target_label="$1", replacement="x"),
        rule(action="labelmap", regex="x(.*)"),
        rule(action="labeldrop", regex="x"),
        rule(action="labelkeep", regex="job"),
        rule(action="hashmod", source_labels=["a"], modulus=3, target_label="code"),
    ],
    ids=lambda one: f"{one.action}-{one.target_label}",
)
def test_where_labels_may_be_rewritten_nothing_is_claimed(rewriting: RelabelRule) -> None:
    assert places(SELECT, rewriting) == frozenset()
    owns = owner(SELECT, at("m1"), (rewriting,))
    assert not owns(SeriesKey.of("m1", {"job": "app"}))


def test_rules_on_other_labels_change_nothing() -> None:
    other = rule(source_labels=["a"], target_label="zone", replacement="x$1")
    assert places(SELECT, other) == places(SELECT)
    assert owner(SELECT, at("m1"), (other,))(SeriesKey.of("m1", {"job": "app"}))


@pytest.mark.parametrize("query", [SELECT, EXPR])
def test_a_label_that_relabelling_sets_tells_pipelines_apart(query: Query) -> None:
    rules = (
        rule(target_label="time", replacement="e\n"),
        rule(target_label="zone", replacement=""),
        rule(target_label="__tmp", replacement="x"),
    )
    measurement = {"select": "m1", "expr": "rate"}[query.kind]
    owns = owner(query, places(query, *rules), rules)
    ours = {"job": "app", "label_time": "e␊"}
    assert owns(SeriesKey.of(measurement, ours))
    assert not owns(SeriesKey.of(measurement, ours | {"label_time": "us"}))
    assert not owns(SeriesKey.of(measurement, {"job": "app"}))
    assert not owns(SeriesKey.of(measurement, ours | {"zone": "x"}))


def test_labels_that_cannot_be_read_are_a_reason() -> None:
    identify = identify_of(SELECT, SeriesEncoder())
    assert identify({"__name__": "m", "a": "\ud800"}) == "unreadable_labels"
    assert identify({"a": "b"}) == "name_missing"
    assert identify({"__name__": "m", "a": "b"}) == SeriesKey.of("m", {"a": "b"})


def test_where_native_histograms_are_carried_their_classic_series_are_owned() -> None:
    query = Query(name="raw", select='{job="app",le=""}', native_histograms="classic")
    held = places(query)
    assert held >= at("m1", "m1_bucket", "m1_count", "m1_sum", "metric__m3_sum")
    owns = owner(query, held, ())
    assert owns(SeriesKey.of("m1_bucket", {"job": "app", "le": "0.5"}))
    assert not owns(SeriesKey.of("m1_bucket", {"job": "other", "le": "0.5"}))
    elsewhere = PossiblePlaces(Query(name="x", select="x", native_histograms="classic"), Layout())
    assert Place("x_bucket") in elsewhere
    assert Place("y_bucket") not in elsewhere
    select = '{job="a",__name__!="x"}'
    others = Query(name="x", select=select, native_histograms="classic")
    assert Place("x") not in PossiblePlaces(others, Layout())
    assert Place("y_sum") in PossiblePlaces(others, Layout())
