"""Selectors that PromQL accepts and refuses; checked by our parser and by promtool."""

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
    ("{job=~`\\Qa.b\\E`}", [m("job", "=~", "\\Qa.b\\E")]),  # RE2's, not the library's
    ('{job="é {},[]"}', [m("job", "=", "é {},[]")]),
    (
        'up # a comment\n{ # another\n job = "a" , # more\n}',
        [m("__name__", "=", "up"), m("job", "=", "a")],
    ),
    ('{job="a", job!="b"}', [m("job", "=", "a"), m("job", "!=", "b")]),
    ('{job!=""}', [m("job", "!=", "")]),
    ('{job!~""}', [m("job", "!~", "")]),
    ('{job!~ # a comment\n ".*"}', [m("job", "!~", ".*")]),
    ('{job="a",env=""}', [m("job", "=", "a"), m("env", "=", "")]),
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
    ("", "is not PromQL: no expression found"),
    ("{}", "is not PromQL: vector selector must contain at least one non-empty matcher"),
    ('{job=~".*"}', "needs a matcher that refuses the empty value"),
    ('{job!="a"}', "vector selector must contain at least one non-empty matcher"),
    ('{job=""}', "vector selector must contain at least one non-empty matcher"),
    ('{job!~"a"}', "needs a matcher that refuses the empty value"),
    ("{job}", "is not PromQL: invalid label matcher, expected label matching operator after 'job'"),
    ("{job=}", "is not PromQL: "),
    ("{job=a}", "is not PromQL: unexpected identifier 'a' in label matching, expected string"),
    ("{job=5}", "is not PromQL: unexpected character inside braces: '5'"),
    ('{job="a"', "is not PromQL: unexpected end of input inside braces"),
    ('{job="a" env="b"}', "is not PromQL: "),
    ('{,job="a"}', "is not PromQL: "),
    ('{job="a",,}', "is not PromQL: "),
    ('{jo-b="a"}', "is not PromQL: unexpected character inside braces: '-'"),
    ('{job=="a"}', "is not PromQL: unexpected '=' in label matching, expected string"),
    ('{job="a}', "has a text whose quote is not closed (column 6)"),
    ('{job="a\n"}', "has a text whose quote is not closed (column 6)"),
    (r'{job="\q"}', r"has an unknown escape \q (column 6)"),
    (r'{job="\xZZ"}', r"has an unknown escape \x"),
    (r'{job="\400"}', r"has an unknown escape \400"),
    (r'{job="\UFFFFFFFF"}', r"has an unknown escape \UFFFFFFFF"),
    ('{job=~"a("}', "has a regex that RE2 refuses: missing )"),
    ('{job=~"(?=a)"}', "has a regex that RE2 refuses"),
    ('up{__name__="down"}', "is not PromQL: metric name must not be set twice: 'up' or 'down'"),
    ('{"up", __name__="down"}', "names the metric twice"),
    ('up{job="a"} garbage', "is not PromQL: "),
    ("5up", "is not PromQL: bad number or duration syntax"),
    ('{job="a" or job="b"}', "has `or` between matchers, which Prometheus refuses"),
]

# (text, what our error says); PromQL accepts these, but they are no plain selectors.
NOT_PLAIN: list[tuple[str, str]] = [
    ("up[5m]", "has a range: leave it out"),
    ('{job="a"}[5m]', "has a range: leave it out"),
    ("up[5m:1m]", "has a range: leave it out"),
    ("up offset 5m", "has a modifier (offset or @)"),
    ("up @ 1600000000", "has a modifier (offset or @)"),
    ("rate(up[5m])", "is an expression, not a plain selector"),
    ("sum by (job) (up)", "is an expression, not a plain selector"),
    ("up + up", "is an expression, not a plain selector"),
    ("up or down", "is an expression, not a plain selector"),
    ("(up)", "is an expression, not a plain selector"),
    ("-up", "is an expression, not a plain selector"),
    ("5", "is an expression, not a plain selector"),
    ('"text"', "is an expression, not a plain selector"),
]
