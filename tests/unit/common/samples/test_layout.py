"""Where a series is held under a layout, and that different series stay different."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.samples.layout import (
    ANY_BOUND,
    DEFAULT_LAYOUT,
    NAME_TAG,
    Layout,
    Place,
    any_bound,
)
from common.samples.line_names import split_field
from common.samples.rollup import aggregate_field, field_key, rollup_key, sample_field
from common.samples.seal import series_key
from common.samples.series import MAX_KEY_BYTES, Identity, IntegerKey, SeriesDrop, SeriesEncoder

TELEGRAF_V2 = Layout("prometheus", "${__name__}")
ONE_TABLE = Layout("prometheus", "value", NAME_TAG)
FIELDS = Layout(histograms="fields")
LAYOUTS = (
    DEFAULT_LAYOUT,
    TELEGRAF_V2,
    ONE_TABLE,
    Layout("prom_${__name__}", "gauge"),
    Layout("${__name__}", "${__name__}"),
    Layout("all", "f_${__name__}_x"),
)
LABELS = {"job": "a b", "le": "0.5"}
BACKSLASH = "＼".encode()
names = st.text(min_size=1) | st.sampled_from(
    ["time", "metric_time", "value", "_x", "avg", "a_avg"]
)


def packed(name: str, labels: Mapping[str, str] = LABELS) -> bytes:
    return json.dumps({"__name__": name, **labels}).encode()


def key(name: str, layout: Layout) -> bytes:
    found = SeriesEncoder(layout=layout).key("select", "q", packed(name))
    assert isinstance(found, bytes)
    return found


@pytest.mark.parametrize(
    ("layout", "name", "expected"),
    [
        (DEFAULT_LAYOUT, "up", rb"up,job=a\ b,le=0.5"),
        (TELEGRAF_V2, "up", rb"prometheus,job=a\ b,le=0.5 up"),
        (TELEGRAF_V2, "a b,c=d", rb"prometheus,job=a\ b,le=0.5 a\ b\,c\=d"),
        (TELEGRAF_V2, "value", rb"prometheus,job=a\ b,le=0.5"),
        (TELEGRAF_V2, "time", rb"prometheus,job=a\ b,le=0.5 metric_time"),
        (TELEGRAF_V2, "_x", rb"prometheus,job=a\ b,le=0.5 metric__x"),
        (Layout("prom_${__name__}", "gauge"), "up", rb"prom_up,job=a\ b,le=0.5 gauge"),
        (ONE_TABLE, "up", rb"prometheus,__name__=up,job=a\ b,le=0.5"),
        (ONE_TABLE, "a b,c=d\\", rb"prometheus,__name__=a\ b\,c\=d%s,job=a\ b,le=0.5" % BACKSLASH),
    ],
)
def test_a_series_is_written_where_the_layout_says(
    layout: Layout, name: str, expected: bytes
) -> None:
    assert key(name, layout) == expected


@given(st.sampled_from(LAYOUTS), st.lists(names, min_size=2, max_size=2, unique=True))
def test_two_metrics_with_the_same_labels_are_two_series(layout: Layout, pair: list[str]) -> None:
    one, other = (key(name, layout) for name in pair)
    assert one != other
    assert layout.place(pair[0]) != layout.place(pair[1])
    if layout.name_tag:
        return  # the series keys differ before the field
    fields = {
        (split_field(each)[0], aggregate_field(layout.place(name).field, aggregate))
        for each, name in zip((one, other), pair, strict=True)
        for aggregate in ("avg", "count")
    }
    assert len(fields) == 4, "nor do their rollups share a field"


@given(st.sampled_from(LAYOUTS), names)
def test_the_key_of_what_is_read_back_is_that_of_what_was_written(
    layout: Layout, name: str
) -> None:
    identity = SeriesEncoder(layout=layout).identity("select", "q", packed(name))
    assert isinstance(identity, Identity)
    tagged = identity.tags.get(NAME_TAG, "")
    assert Place(identity.measurement, identity.field, tagged) == layout.place(name)
    tags = identity.tags.items()
    assert series_key(identity.measurement, tags, identity.field) == identity.key
    assert layout.may_hold(layout.place(name))
    field = aggregate_field(identity.field, "stddev")
    assert sample_field(field) == identity.field
    assert field_key(identity.key, "stddev") == series_key(identity.measurement, tags, field)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_metric_is_told_from_its_place(layout: Layout) -> None:
    for name in ("up", "_meta", "metric_name", "http.server.duration"):
        assert list(layout.names(layout.place(name))) == [name]
    assert not any(layout.names(Place("cpu", "usage_idle"))) or layout.field == "${__name__}"


@given(st.sampled_from((*LAYOUTS, FIELDS)), names)
def test_a_metric_is_told_from_its_place_whatever_its_name(layout: Layout, name: str) -> None:
    assert list(layout.names(layout.place(name))) == [name]


def test_what_no_metric_can_be_held_at_is_somebody_elses() -> None:
    assert not TELEGRAF_V2.may_hold(Place("cpu", "usage_idle"))
    assert not any(TELEGRAF_V2.names(Place("cpu", "usage_idle")))
    assert not Layout("prom_${__name__}").may_hold(Place("cpu", "value"))
    assert not DEFAULT_LAYOUT.may_hold(Place("cpu", "usage_idle"))
    assert not ONE_TABLE.may_hold(Place("prometheus", "value")), "it has no such tag"
    assert not DEFAULT_LAYOUT.may_hold(Place("up", "value", "up"))


def test_no_label_becomes_the_tag_that_holds_the_name() -> None:
    labels = {"job": "a", "x__name__": "b", "label___name__": "c"}
    identity = SeriesEncoder(layout=ONE_TABLE).identity("select", "q", packed("up", labels))
    assert isinstance(identity, Identity)
    assert identity.tags == {
        "job": "a", "x__name__": "b", "label_label___name__": "c", NAME_TAG: "up"
    }  # fmt: skip


def test_a_rollup_s_key_keeps_the_field() -> None:
    assert rollup_key(b"m,avg=1,z=2 up") == b"m,label_avg=1,z=2 up"
    assert rollup_key(b"m,a=1 up_avg") == b"m,a=1 up_avg"
    assert field_key(b"m,a=1 up", "avg") == b"m,a=1 up_avg"
    assert field_key(b"m,a=1", "avg") == b"m,a=1 avg"


def test_the_name_of_the_field_counts_as_part_of_what_influxdb_limits() -> None:
    encoder = SeriesEncoder(layout=TELEGRAF_V2)
    room = MAX_KEY_BYTES - len("prometheus,a=")
    assert isinstance(encoder.key("select", "q", packed("five5", {"a": "x" * room})), bytes)
    too_long = encoder.key("select", "q", packed("sixsix", {"a": "x" * room}))
    assert too_long is SeriesDrop.SERIES_KEY_TOO_LONG


def test_keys_of_integers_are_marked() -> None:
    encoder = SeriesEncoder(integer_metrics=["*_total", "up"])
    found = encoder.keys("select", "q", [packed(name) for name in ("up", "a_total", "load")] * 2)
    assert [isinstance(each, IntegerKey) for each in found] == [True, True, False] * 2
    assert found[0] == key("up", DEFAULT_LAYOUT)


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("x", {}, b"x,job=a"),
        ("x_count", {}, b"x,job=a count"),
        ("x_sum", {"le": "1"}, b"x,job=a,le=1 sum"),
        ("x_bucket", {"le": "0.5"}, b"x,job=a 0.5"),
        ("x_bucket", {"le": "+Inf"}, b"x,job=a +Inf"),
        ("x_bucket", {"le": "-1e-07"}, b"x,job=a -1e-07"),
        ("x_bucket", {"le": "count"}, b"x_bucket,job=a,le=count"),
        ("x_bucket", {}, b"x_bucket,job=a"),
        ("_x_bucket", {"le": "1.0"}, b"metric__x,job=a 1.0"),
        ("_bucket", {"le": "1"}, b"metric__bucket,job=a,le=1"),
        ("_count", {}, b"metric__count,job=a"),
    ],
)
def test_series_of_a_histogram_are_fields_of_one(
    name: str, labels: dict[str, str], expected: bytes
) -> None:
    encoder = SeriesEncoder(layout=FIELDS)
    assert encoder.key("select", "q", packed(name, {"job": "a", **labels})) == expected


histogram_names = st.sampled_from(
    ["x", "x_count", "x_sum", "x_bucket", "x_bucket_count", "_count", "_bucket", "count", "_x_sum"]
)
bounds = st.sampled_from(["", "0.5", "1", "1.0", "+Inf", "1e-07", "count", "sum", "value", "x"])
histogram_series = st.tuples(histogram_names, bounds)


@given(st.lists(histogram_series, min_size=2, max_size=2, unique=True))
def test_two_series_of_histograms_are_two_fields(pair: list[tuple[str, str]]) -> None:
    labels = [{"job": "a", "le": bound} if bound else {"job": "a"} for _, bound in pair]
    one, other = (
        SeriesEncoder(layout=FIELDS).identity("select", "q", packed(name, own))
        for (name, _), own in zip(pair, labels, strict=True)
    )
    assert isinstance(one, Identity) and isinstance(other, Identity)
    assert one.key != other.key
    assert (one.measurement, one.tags, one.field) != (other.measurement, other.tags, other.field)
    for identity, (name, _) in zip((one, other), pair, strict=True):
        place = Place(identity.measurement, identity.field)
        assert (
            series_key(identity.measurement, identity.tags.items(), identity.field) == identity.key
        )
        assert FIELDS.may_hold(place)
        assert list(FIELDS.names(place)) == [name]
        assert place in FIELDS.places(name) or any_bound(place) in FIELDS.places(name)


def test_other_fields_are_no_histograms() -> None:
    for place in (Place("cpu", "usage_idle"), Place("x_count", "value"), Place("x", "1.")):
        assert not any(FIELDS.names(place))
    assert not FIELDS.may_hold(Place("cpu", "usage_idle"))
    assert list(FIELDS.places("x_bucket")) == [Place("x_bucket"), Place("x", ANY_BOUND)]
    assert list(map(FIELDS.lacks_bound, FIELDS.places("x_bucket"))) == [True, False]
    others = [Place("x", "0.5"), Place("x", "count"), Place("x"), Place("_bucket")]
    assert not any(map(FIELDS.lacks_bound, others))
    assert not DEFAULT_LAYOUT.lacks_bound(Place("x_bucket"))
    assert list(DEFAULT_LAYOUT.places("x_bucket")) == [Place("x_bucket")]
