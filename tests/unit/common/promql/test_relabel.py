"""Relabelling: Prometheus' own cases, re-expressed, and what its documentation leaves open."""

from __future__ import annotations

import pytest

from tests.support.relabelling import ABC, LINES, Rule, relabel, rule

CASES = {
    "replace writes the expanded groups": (
        ABC,
        [rule("a", regex="f(.*)", target_label="d", replacement="ch${1}-ch${1}")],
        ABC | {"d": "choo-choo"},
    ),
    "source labels are joined, and later rules see what earlier ones wrote": (
        ABC,
        [
            rule("a b", regex="f(.*);(.*)r", target_label="a", replacement="b${1}${2}m"),
            rule("c a", regex="(b).*b(.*)ba(.*)", target_label="d", replacement="$1$2$2$3"),
        ],
        {"a": "boobam", "b": "bar", "c": "baz", "d": "boooom"},
    ),
    "a separator of one's own": (
        ABC,
        [rule("a b", separator="::", target_label="d")],
        ABC | {"d": "foo::bar"},
    ),
    "no separator at all": (
        ABC,
        [rule("a b", separator="", target_label="d")],
        ABC | {"d": "foobar"},
    ),
    "a missing source label is empty": (
        ABC,
        [rule("nope a", target_label="d")],
        ABC | {"d": ";foo"},
    ),
    "drop ends the work": (
        {"a": "foo"},
        [
            rule("a", regex=".*o.*", action="drop"),
            rule("a", regex="f(.*)", target_label="d", replacement="ch$1-ch$1"),
        ],
        None,
    ),
    "drop of what matches": (ABC, [rule("a", regex=".*o.*", action="drop")], None),
    "drop needs a match": ({"a": "foo"}, [rule("a", regex="no", action="drop")], {"a": "foo"}),
    "alternatives are anchored as a whole": (
        {"a": "foo"},
        [rule("a", regex="f|o", action="drop")],
        {"a": "foo"},
    ),
    "keep of what does not match": ({"a": "foo"}, [rule("a", regex="no", action="keep")], None),
    "keep of what matches": ({"a": "foo"}, [rule("a", regex="f.*", action="keep")], {"a": "foo"}),
    "keep of everything that lacks a label": (
        {"a": "foo"},
        [rule("b", regex="", action="keep")],
        {"a": "foo"},
    ),
    "a group inside": (
        {"a": "abc"},
        [rule("a", regex=".*(b).*", target_label="d")],
        {"a": "abc", "d": "b"},
    ),
    "no match, no replacement": (
        {"a": "boo"},
        [rule("a", regex="f", target_label="b", replacement="bar")],
        {"a": "boo"},
    ),
    "an empty result deletes the target": (
        {"a": "foo", "f": "baz"},
        [rule("a", regex="(f).*", target_label="$1", replacement="$2")],
        {"a": "foo"},
    ),
    "an empty source deletes the target": (
        {"a": "foo", "d": "x"},
        [rule("nope", target_label="d")],
        {"a": "foo"},
    ),
    "a constant for every series": (
        {"a": "foo"},
        [rule(target_label="cluster", replacement="eu-1")],
        {"a": "foo", "cluster": "eu-1"},
    ),
    "an empty regex matches only nothing": (
        {"abc": "def"},
        [rule(regex="", target_label="abc", replacement="static")],
        {"abc": "static"},
    ),
    "target from the text": (
        {"a": "some-name-value"},
        [rule("a", regex="some-([^-]+)-([^,]+)", target_label="${1}", replacement="${2}")],
        {"a": "some-name-value", "name": "value"},
    ),
    "a group that is not there is empty": (
        {"a": "some-name-value"},
        [rule("a", regex="some-([^-]+)-([^,]+)", target_label="${1}", replacement="${3}")],
        {"a": "some-name-value"},
    ),
    "an empty target is no label": (
        {"a": "some-name-0"},
        [rule("a", regex="some-([^-]+)-([^,]+)", target_label="${3}", replacement="${1}")],
        {"a": "some-name-0"},
    ),
    "any text is a label name": (
        {"a": "some-name-0"},
        [rule("a", regex="some-([^-]+)(-[^,]+)", target_label="${2}", replacement="${1}")],
        {"a": "some-name-0", "-0": "name"},
    ),
    "a target of any alphabet that begins with a digit": (
        {"a": "0-größe"},
        [rule("a", regex="(.)-(.*)", target_label="${1}.${2}", replacement="${2}")],
        {"a": "0-größe", "0.größe": "größe"},
    ),
    "pieces of a tag list": (
        {"__meta_sd_tags": "path:/secret,job:some-job,label:foo=bar"},
        [
            rule("__meta_sd_tags", regex="(?:.+,|^)path:(/[^,]+).*", target_label="__path__"),
            rule("__meta_sd_tags", regex="(?:.+,|^)job:([^,]+).*", target_label="job"),
            rule(
                "__meta_sd_tags",
                regex="(?:.+,|^)label:([^=]+)=([^,]+).*",
                target_label="${1}",
                replacement="${2}",
            ),
        ],
        {
            "__meta_sd_tags": "path:/secret,job:some-job,label:foo=bar",
            "__path__": "/secret",
            "job": "some-job",
            "foo": "bar",
        },
    ),
    "a label that was dropped can be written again": (
        {"port_name": "foo", "port": "9091"},
        [
            rule(regex="^port_name$", action="labeldrop"),
            rule("port", regex="(.+)", target_label="port_name", replacement="metrics"),
            rule("port_name", regex="^metrics$", action="keep"),
        ],
        {"port": "9091", "port_name": "metrics"},
    ),
    "hashmod": (
        ABC,
        [rule("c", target_label="d", modulus=1000, action="hashmod")],
        ABC | {"d": "976"},
    ),
    "hashmod of several lines": (
        {"a": "foo\nbar"},
        [rule("a", target_label="b", modulus=1000, action="hashmod")],
        {"a": "foo\nbar", "b": "734"},
    ),
    "labelmap copies": (
        {"a": "foo", "b1": "bar", "b2": "baz"},
        [rule(regex="(b.*)", replacement="bar_${1}", action="labelmap")],
        {"a": "foo", "b1": "bar", "b2": "baz", "bar_b1": "bar", "bar_b2": "baz"},
    ),
    "labelmap by the default replacement": (
        {"a": "foo", "__meta_my_bar": "aaa", "__meta_other": "ccc"},
        [rule(regex="__meta_(my.*)", action="labelmap")],
        {"a": "foo", "__meta_my_bar": "aaa", "__meta_other": "ccc", "my_bar": "aaa"},
    ),
    "labelmap reads the labels as they were": (
        {"a": "1", "aa": "2"},
        [rule(regex="(a+)", replacement="a$1", action="labelmap")],
        {"a": "1", "aa": "1", "aaa": "2"},
    ),
    "labelmap to one name: the last in the order of the names wins": (
        {"x2": "last", "x1": "first"},
        [rule(regex="x.", replacement="y", action="labelmap")],
        {"x1": "first", "x2": "last", "y": "last"},
    ),
    "labelmap to one name: what a rule has set comes last, first set first": (
        {"x1": "one", "x2": "two", "x3": "three"},
        [
            rule(target_label="x2", replacement="two again"),
            rule(target_label="x0", replacement="zero"),
            rule(target_label="x2", replacement="two at last"),
            rule(regex="x.", replacement="y", action="labelmap"),
        ],
        {"x1": "one", "x2": "two at last", "x3": "three", "x0": "zero", "y": "zero"},
    ),
    "labelmap to one name: a label that was dropped and set again is set anew": (
        {"a": "1"},
        [
            rule(target_label="x1", replacement="one"),
            rule(target_label="x2", replacement="two"),
            rule(regex="x1", action="labeldrop"),
            rule(target_label="x1", replacement="one again"),
            rule(regex="x.", replacement="y", action="labelmap"),
        ],
        {"a": "1", "x2": "two", "x1": "one again", "y": "one again"},
    ),
    "labelmap makes no label without a name": (
        {"a": "foo"},
        [rule(regex="(x)?a", action="labelmap")],
        {"a": "foo"},
    ),
    "what labelmap makes under no name is seen by the rules after it": (
        {"a": "foo"},
        [
            rule(regex="(x)?a", action="labelmap"),
            rule(regex="", replacement="b", action="labelmap"),
        ],
        {"a": "foo", "b": "foo"},
    ),
    "labeldrop": (
        {"a": "foo", "b1": "bar", "b2": "baz"},
        [rule(regex="(b.*)", action="labeldrop")],
        {"a": "foo"},
    ),
    "labelkeep": (
        {"a": "foo", "b1": "bar", "b2": "baz"},
        [rule(regex="(b.*)", action="labelkeep")],
        {"b1": "bar", "b2": "baz"},
    ),
    "lowercase and uppercase": (
        {"foo": "bAr123Foo"},
        [
            rule("foo", target_label="up", action="uppercase"),
            rule("foo", target_label="low", action="lowercase"),
        ],
        {"foo": "bAr123Foo", "up": "BAR123FOO", "low": "bar123foo"},
    ),
    "letters change one by one, as in Go": (
        {"foo": "Straße ŉ ᾳ ΌΣΟΣ İ ǅ"},
        [
            rule("foo", target_label="up", action="uppercase"),
            rule("foo", target_label="low", action="lowercase"),
        ],
        {
            "foo": "Straße ŉ ᾳ ΌΣΟΣ İ ǅ",
            "up": "STRAßE ŉ ᾼ ΌΣΟΣ İ Ǆ",
            "low": "straße ŉ ᾳ όσοσ i ǆ",
        },
    ),
    "keepequal keeps": (
        {"__tmp": "1234", "port": "1234"},
        [rule("__tmp", target_label="port", action="keepequal")],
        {"__tmp": "1234", "port": "1234"},
    ),
    "keepequal drops": (
        {"__tmp": "1234", "port": "5678"},
        [rule("__tmp", target_label="port", action="keepequal")],
        None,
    ),
    "dropequal drops": (
        {"__tmp": "1234", "port": "1234"},
        [rule("__tmp", target_label="port", action="dropequal")],
        None,
    ),
    "dropequal keeps": (
        {"__tmp": "1234", "port": "5678"},
        [rule("__tmp", target_label="port", action="dropequal")],
        {"__tmp": "1234", "port": "5678"},
    ),
    "two missing labels are equal": (
        {"a": "foo"},
        [rule("x", target_label="y", action="dropequal")],
        None,
    ),
    "a dot matches a line break": (
        LINES,
        [rule("a", regex="line1.*line2", target_label="d", replacement="match${1}")],
        LINES | {"d": "match"},
    ),
    "the end is the end of the text, not of a line": (
        {"a": "foo\n"},
        [rule("a", regex="foo", action="keep")],
        None,
    ),
    "names of any alphabet as source": (
        {"utf-8.label": "x", "größe": "y"},
        [rule("utf-8.label größe", target_label="d")],
        {"utf-8.label": "x", "größe": "y", "d": "x;y"},
    ),
    "named groups": (
        LINES,
        [
            rule(
                "a",
                regex="(line1).*(?P<second>line2)",
                target_label="label_$1",
                replacement="val_${second}_$second",
            )
        ],
        LINES | {"label_line1": "val_line2_line2"},
    ),
    "values beyond ASCII": (
        {"a": "näme=wért"},
        [rule("a", regex="(.)(.)(.*)=(.*)", target_label="d", replacement="$2|$1|$4")],
        {"a": "näme=wért", "d": "ä|n|wért"},
    ),
    "the name can be read and written": (
        {"__name__": "http_requests_total"},
        [rule("__name__", regex="(.*)_total", target_label="__name__")],
        {"__name__": "http_requests"},
    ),
    "a chain that shards": (
        {"a": "x"},
        [
            rule("a", target_label="__tmp_hash", modulus=3, action="hashmod"),
            rule("__tmp_hash", regex="^[012]$", action="keep"),
            rule(regex="__tmp_hash", action="labeldrop"),
        ],
        {"a": "x"},
    ),
    "no rules": (ABC, [], ABC),
}


@pytest.mark.parametrize(("labels", "rules", "expected"), CASES.values(), ids=CASES.keys())
def test_relabel(
    labels: dict[str, str], rules: list[Rule], expected: dict[str, str] | None
) -> None:
    assert relabel(labels, *rules) == expected
