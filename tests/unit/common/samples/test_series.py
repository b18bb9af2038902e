"""The identity of a series: measurement, tags, key; relabelling, whitelist, name conflicts."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import ConfigError, WireError
from common.samples.series import MAX_KEY_BYTES, Identity, SeriesDrop, SeriesEncoder
from tests.support.line_protocol_parser import parse_line
from tests.support.relabelling import rule
from tests.unit.common.samples.test_line_names import unmapped


def packed(labels: Mapping[str, str]) -> bytes:
    return json.dumps(labels, separators=(",", ":"), ensure_ascii=False).encode()


def key_of(labels: Mapping[str, str], kind: str = "select", query: str = "q") -> object:
    return SeriesEncoder().key(kind, query, packed(labels))


@pytest.mark.parametrize(
    ("labels", "key"),
    [
        ({"__name__": "up"}, "up"),
        ({"__name__": "up", "job": "x", "instance": "a:1"}, "up,instance=a:1,job=x"),
        ({"__name__": "up", "empty": "", "job": "x"}, "up,job=x"),
        ({"__name__": "up", "le": "+Inf"}, "up,le=+Inf"),
        ({"__name__": "up", "a": "b c", "d": "e,f", "g": "h=i"}, r"up,a=b\ c,d=e\,f,g=h\=i"),
        ({"__name__": "my metric,x", "k 1": "v"}, r"my\ metric\,x,k\ 1=v"),
        ({"__name__": "a=b", "c": "d"}, "a=b,c=d"),
        ({"__name__": "up", "q": 'say "hi"'}, r"up,q=say\ " + '"hi"'),
        ({"__name__": "größe", "город": "Москва"}, "größe,город=Москва"),
        ({"__name__": "up", "time": "1", "_field": "2"}, "up,label__field=2,label_time=1"),
        ({"__name__": "up", "path": "C:\\"}, "up,path=C:＼"),
        ({"__name__": "up", "msg": "a\nb"}, "up,msg=a␊b"),
        ({"__name__": "#up"}, "metric_#up"),
        ({"__name__": "_up"}, "metric__up"),
        # Sorted by what is written: "a b" is written with a backslash, which sorts after "a0".
        ({"__name__": "up", "a b": "1", "a0": "2"}, r"up,a0=2,a\ b=1"),
        ({"__name__": "up", "B": "1", "a": "2", "_c": "3"}, "up,B=1,a=2,label__c=3"),
        # Labels that begin with two underscores are for use during relabelling.
        ({"__name__": "up", "__tmp": "x", "__type__": "gauge"}, "up"),
    ],
)
def test_keys(labels: dict[str, str], key: str) -> None:
    assert key_of(labels) == key.encode()


def test_the_measurement_of_an_expression_is_the_query() -> None:
    assert key_of({"job": "x"}, "expr", "rate") == b"rate,job=x"
    assert key_of({"__name__": "up", "job": "x"}, "expr", "rate") == b"rate,job=x"
    assert key_of({}, "expr", "_rate") == b"metric__rate"
    assert key_of({"job": "x"}, "expr", "job:up:sum") == b"job:up:sum,job=x"


def test_a_raw_series_needs_a_name() -> None:
    assert key_of({"job": "x"}) is SeriesDrop.NAME_MISSING
    encoder = SeriesEncoder([rule(regex="__name__", action="labeldrop")])
    assert encoder.key("select", "q", packed({"__name__": "up"})) is SeriesDrop.NAME_MISSING
    assert encoder.key("expr", "q", packed({"job": "x"})) == b"q,job=x"


def test_relabelling_sees_the_name_and_only_renames_raw_series() -> None:
    encoder = SeriesEncoder(
        [
            rule("__name__", regex="secret_.*|private", action="drop"),
            rule("__name__", regex="go_(.*)", target_label="__name__"),
            rule("instance", regex="(.*):.*", target_label="host"),
            rule("host", target_label="__tmp"),
        ]
    )
    assert encoder.key("select", "q", packed({"__name__": "secret_x"})) is (
        SeriesDrop.RELABEL_DROPPED
    )
    assert encoder.key("expr", "private", packed({"a": "b"})) is SeriesDrop.RELABEL_DROPPED
    assert encoder.key("select", "q", packed({"__name__": "go_x", "instance": "a:1"})) == (
        b"x,host=a,instance=a:1"
    )
    assert encoder.key("expr", "go_x", packed({"a": "b"})) == b"go_x,a=b"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("up", True),
        ("upper", False),
        ("UP", False),
        ("http_requests_total", True),
        ("http_", True),
        ("xhttp_requests", False),
        ("node_cpu0", True),
        ("node_cpux", False),
        ("a\nb", True),
        ("a.b", True),
        ("axb", True),
        ("_hidden", True),
    ],
)
def test_whitelist(name: str, kept: bool) -> None:
    patterns = ("up", "http_*", "node_cpu[0-9]", "a?b", "_hidden")
    encoder = SeriesEncoder(valid_metrics=patterns)
    key = encoder.key("select", "q", packed({"__name__": name}))
    assert isinstance(key, bytes) is kept
    assert kept or key is SeriesDrop.NOT_WHITELISTED


def test_whitelist_sees_the_name_after_relabelling_and_that_of_the_query() -> None:
    encoder = SeriesEncoder(
        [rule("__name__", regex="old", target_label="__name__", replacement="new")],
        valid_metrics=("new", "rate"),
    )
    assert encoder.key("select", "q", packed({"__name__": "old"})) == b"new"
    assert encoder.key("expr", "rate", packed({"a": "b"})) == b"rate,a=b"
    assert encoder.key("expr", "other", packed({"a": "b"})) is SeriesDrop.NOT_WHITELISTED


def test_a_raw_series_must_not_be_named_like_an_expression() -> None:
    encoder = SeriesEncoder(expr_names=("up",))
    assert encoder.key("select", "q", packed({"__name__": "up"})) is SeriesDrop.NAME_CONFLICT
    assert encoder.key("expr", "up", packed({})) == b"up"


def test_histograms_of_an_expression_are_named_behind_the_query() -> None:
    encoder = SeriesEncoder([rule("__name__", regex="rate_sum", action="drop")])
    bucket = packed({"__name__": "x", "a": "b", "__classic__": "_bucket", "le": "1"})
    assert encoder.key("expr", "rate@north", bucket) == b"rate_bucket,a=b,le=1"
    assert encoder.key("expr", "rate", packed({"__classic__": "_count"})) == b"rate_count"
    summed = packed({"__classic__": "_sum"})
    assert encoder.key("expr", "rate", summed) is SeriesDrop.RELABEL_DROPPED
    assert encoder.key("expr", "rate", packed({"__classic__": "_total"})) == b"rate"
    assert encoder.key("select", "rate", bucket) == b"x,a=b,le=1"


def test_a_key_that_influxdb_cannot_hold() -> None:
    name = {"__name__": "up"}
    room = MAX_KEY_BYTES - len("up,a=")
    assert key_of(name | {"a": "x" * room}) == b"up,a=" + b"x" * room
    assert key_of(name | {"a": "x" * (room + 1)}) is SeriesDrop.SERIES_KEY_TOO_LONG
    # Counted in bytes, and with the escapes.
    assert key_of(name | {"a": "é" * room}) is SeriesDrop.SERIES_KEY_TOO_LONG
    assert key_of(name | {"a": "," * room}) is SeriesDrop.SERIES_KEY_TOO_LONG


@pytest.mark.parametrize(
    "labels", [b"", b"{", b"[]", b'{"a":1}', b'{"a":"\xff"}', b'{"a":"\\ud800"}', b"null", b"{}x"]
)
def test_a_label_set_that_cannot_be_read(labels: bytes) -> None:
    encoder = SeriesEncoder()
    good = packed({"__name__": "up"})
    first, bad, last = encoder.keys("select", "q", [good, labels, good])
    assert (first, last) == (b"up", b"up")
    assert isinstance(bad, WireError)
    with pytest.raises(WireError, match="cannot be read"):
        encoder.identity("select", "q", labels)


def test_identity_is_the_mapped_form_of_the_key() -> None:
    labels = packed({"__name__": "#a", "time": "x\ny", "b": "c d", "empty": ""})
    assert SeriesEncoder().identity("select", "q", labels) == Identity(
        "metric_#a",
        {"b": "c d", "label_time": "x␊y"},
        "value",
        "metric_#a,b=c\\ d,label_time=x␊y".encode(),
    )
    assert SeriesEncoder().identity("select", "q", b"{}") is SeriesDrop.NAME_MISSING


def test_a_bad_rule_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"transform\.relabel\[0\]\.regex"):
        SeriesEncoder([rule("a", regex="(", target_label="b")])


@pytest.mark.parametrize("capacity", [1, 2, 3, 10])
def test_a_small_memory_gives_the_same_keys(capacity: int) -> None:
    series = [packed({"__name__": "up", "i": str(number % 7)}) for number in range(50)]
    small, large = SeriesEncoder(cache_series=capacity), SeriesEncoder()
    for kind in ("select", "expr", "select"):
        assert small.keys(kind, "q", series) == large.keys(kind, "q", series)
        assert small.remembered_series <= max(2, capacity)


def test_of_series_with_long_labels_fewer_are_remembered() -> None:
    """As those of a database that has its statements in a label, by the ten thousand."""
    encoder = SeriesEncoder(cache_series=1000)
    tracemalloc.start()
    try:
        before_bytes, _ = tracemalloc.get_traced_memory()
        for number in range(600):
            labels = {"__name__": "calls", "query": f"SELECT {number}, " + "x" * 10_000}
            assert isinstance(encoder.key("select", "q", packed(labels)), bytes)
        taken_bytes = tracemalloc.get_traced_memory()[0] - before_bytes
    finally:
        tracemalloc.stop()
    assert encoder.remembered_series > 10
    assert taken_bytes < 1_200_000


def test_expressions_do_not_share_what_is_remembered() -> None:
    encoder = SeriesEncoder()
    labels = packed({"__name__": "up", "a": "b"})
    assert encoder.key("expr", "one", labels) == b"one,a=b"
    assert encoder.key("expr", "two", labels) == b"two,a=b"
    assert encoder.key("select", "one", labels) == b"up,a=b"


LABEL_TEXT = st.one_of(
    st.text(alphabet='\\,= "#_␊␛＼\n\ra0'), st.text(), st.sampled_from(("time", "value", "_field"))
)
LABELS = st.dictionaries(LABEL_TEXT, LABEL_TEXT, max_size=5)


@settings(max_examples=100)
@given(name=LABEL_TEXT.filter(bool), labels=LABELS)
def test_every_influxdb_reads_back_what_the_labels_were(name: str, labels: dict[str, str]) -> None:
    labels = {label: value for label, value in labels.items() if not label.startswith("__")}
    key = key_of({**labels, "__name__": name})
    assert isinstance(key, bytes)
    point = parse_line(key + b" value=1 1")
    assert unmapped(point.measurement, "measurement") == name
    assert {unmapped(tag, "key"): unmapped(value, "value") for tag, value in point.tags} == {
        label: value for label, value in labels.items() if value
    }


@settings(max_examples=100)
@given(name=LABEL_TEXT.filter(bool), label=LABEL_TEXT.filter(bool))
def test_names_that_rules_make_of_any_text_are_read_back_too(name: str, label: str) -> None:
    encoder = SeriesEncoder(
        [
            rule("__tmp_name", target_label="__name__"),
            rule("__tmp_label", target_label="$1", replacement="x"),
        ]
    )
    labels = {"__name__": "up", "__tmp_name": name, "__tmp_label": label}
    key = encoder.key("select", "q", packed(labels))
    assert isinstance(key, bytes)
    point = parse_line(key + b" value=1 1")
    if label != "__name__":
        assert unmapped(point.measurement, "measurement") == name
    found = {unmapped(tag, "key"): unmapped(value, "value") for tag, value in point.tags}
    assert found == ({} if label.startswith("__") else {label: "x"})


@given(one=LABELS, two=LABELS)
def test_different_label_sets_have_different_keys(one: dict[str, str], two: dict[str, str]) -> None:
    def kept(labels: dict[str, str]) -> dict[str, str]:
        return {
            label: value for label, value in labels.items() if value and not label.startswith("__")
        }

    name = {"__name__": "up"}
    assert (key_of(one | name) == key_of(two | name)) is (kept(one) == kept(two))
