"""Selectors that PromQL accepts and refuses; held to our parser here and to promtool elsewhere."""

from __future__ import annotations

from common.promql.selector import Matcher, Operator


def m(label: str, operator: Operator, value: str) -> Matcher:
    return Matcher(label, operator, value)


# (text, its matchers)
ACCEPTED: list[tuple[str, list[Matcher]]] = [
    ("up", [m("__name__", "=", "up")]),
    ("up{}", [m("__name__", "=", "up")]),
    (" up { } ", [m("__name__", "=", "up")]),
    ("job:rate:sum5m", [m("__name__", "=", "job:rate:sum5m")]),
    (":odd", [m("__name__", "=", ":odd")]),
    ('{job="a"}', [m("job", "=", "a")]),
    ('{job="a",}', [m("job", "=", "a")]),
    ("{job='a'}", [m("job", "=", "a")]),
    ("{job=`a`}", [m("job", "=", "a")]),
    (
        'up{job="a",instance!="b",env=~"c|d",zone!~"e.*"}',
        [
            m("__name__", "=", "up"),
            m("job", "=", "a"),
            m("instance", "!=", "b"),
            m("env", "=~", "c|d"),
            m("zone", "!~", "e.*"),
        ],
    ),
    ('{__name__="up"}', [m("__name__", "=", "up")]),
    ('{__name__=~"http_.+"}', [m("__name__", "=~", "http_.+")]),
    (r'{job="a\"b\\c\nd\te"}', [m("job", "=", 'a"b\\c\nd\te')]),
    (r'{job="\x41\u00e9\U0001F600\101"}', [m("job", "=", "Aé😀A")]),
    (r'{job="\xc3\xa9"}', [m("job", "=", "é")]),
    (r"{job='it\'s'}", [m("job", "=", "it's")]),
    (r"{job=`a\d`}", [m("job", "=", r"a\d")]),
    ('{job="é {},[]"}', [m("job", "=", "é {},[]")]),
    (
        'up # a comment\n{ # another\n job = "a" , # more\n}',
        [m("__name__", "=", "up"), m("job", "=", "a")],
    ),
    ('{job="a", job!="b"}', [m("job", "=", "a"), m("job", "!=", "b")]),
    ('{by="x", on="y"}', [m("by", "=", "x"), m("on", "=", "y")]),
]

# Accepted by PromQL of version 3 only.
ACCEPTED_SINCE_3: list[tuple[str, list[Matcher]]] = [
    ('{"http.requests"}', [m("__name__", "=", "http.requests")]),
    ('{"http.requests", job="a"}', [m("__name__", "=", "http.requests"), m("job", "=", "a")]),
    ('{job="a", "http.requests"}', [m("job", "=", "a"), m("__name__", "=", "http.requests")]),
    ('{"service.name"="a"}', [m("service.name", "=", "a")]),
    ('up{"service.name"!~"a"}', [m("__name__", "=", "up"), m("service.name", "!~", "a")]),
]

# (text, what our error says); PromQL refuses these too.
REFUSED: list[tuple[str, str]] = [
    ("", "is not a selector"),
    ("{}", "needs a matcher that refuses the empty value"),
    ('{job=~".*"}', "needs a matcher that refuses the empty value"),
    ('{job!="a"}', "needs a matcher that refuses the empty value"),
    ('{job=""}', "needs a matcher that refuses the empty value"),
    ("{job}", "needs one of = != =~ !~ after a label name"),
    ("{job=}", "needs a quoted text"),
    ("{job=a}", "needs a quoted text"),
    ("{job=5}", "needs a quoted text"),
    ('{job="a"', "needs a comma or a closing brace"),
    ('{job="a" env="b"}', "needs a comma or a closing brace"),
    ('{,job="a"}', "needs a label name"),
    ('{job="a",,}', "needs a label name"),
    ('{jo-b="a"}', "needs one of = != =~ !~ after a label name"),
    ('{job=="a"}', "needs a quoted text"),
    ('{job="a}', "needs a quoted text"),
    ('{job="a\n"}', "needs a quoted text"),
    (r'{job="\q"}', r"has an unknown escape \q"),
    (r'{job="\xZZ"}', r"has an unknown escape \x"),
    (r'{job="\400"}', r"has an unknown escape \400"),
    (r'{job="\UFFFFFFFF"}', r"has an unknown escape \UFFFFFFFF"),
    ('{job=~"a("}', "has a regex that RE2 refuses: missing )"),
    ('{job=~"(?=a)"}', "has a regex that RE2 refuses"),
    ('up{__name__="down"}', "names the metric twice"),
    ('up{job="a"} garbage', "goes on after the selector"),
    ("5up", "is not a selector"),
]

# (text, what our error says); PromQL accepts these, but they are no plain selectors.
NOT_PLAIN: list[tuple[str, str]] = [
    ("up[5m]", "has a range: leave it out"),
    ('{job="a"}[5m]', "has a range: leave it out"),
    ("up offset 5m", "has a modifier (offset or @)"),
    ("up @ 1600000000", "has a modifier (offset or @)"),
    ("rate(up[5m])", "calls rate: a select is a plain selector"),
    ("sum by (job) (up)", "goes on after the selector"),
    ("up + up", "goes on after the selector"),
    ("up or down", "goes on after the selector"),
    ("(up)", "is not a selector"),
    ("-up", "is not a selector"),
    ("5", "is not a selector"),
    ('"text"', "is not a selector"),
]
