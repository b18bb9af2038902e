"""Parsing selectors and expressions, and knowing which selectors share no series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.promql.selector import (
    Matcher,
    Operator,
    Selector,
    check_expression,
    disjoint_label,
    metric_names,
    parse_selector,
)
from tests.support.selector_cases import ACCEPTED, ACCEPTED_SINCE_3, NOT_PLAIN, REFUSED


@pytest.mark.parametrize(("text", "matchers"), ACCEPTED + ACCEPTED_SINCE_3)
def test_a_selector_is_its_matchers(text: str, matchers: list[Matcher]) -> None:
    assert list(parse_selector(text).matchers) == matchers


@pytest.mark.parametrize(("text", "wanted"), REFUSED + NOT_PLAIN)
def test_what_is_no_plain_selector_is_refused_with_its_reason(text: str, wanted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_selector(text)
    assert wanted in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def quoted(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n"}
    return '"' + "".join(escapes.get(char, char) for char in text) + '"'


any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
any_matchers = st.lists(
    st.builds(
        Matcher,
        any_text,
        st.sampled_from([o for o in get_args(Operator) if "~" not in o]),
        any_text,
    ),
    max_size=4,
)


@given(matchers=any_matchers)
def test_any_label_and_value_survive_quoting(matchers: list[Matcher]) -> None:
    pinned = [Matcher("job", "=", "x"), *matchers]
    inside = ",".join(f"{quoted(x.label)}{x.operator}{quoted(x.value)}" for x in pinned)
    assert list(parse_selector(f"{{{inside}}}").matchers) == pinned


@given(text=st.text(alphabet="up{}[]()=!~\"'`\\,#@ \nx1", max_size=30))
def test_any_text_is_a_selector_or_a_clear_error(text: str) -> None:
    found: Sequence[object]
    try:
        found = parse_selector(text).matchers
    except ConfigError as error:
        found = error.problems
    assert found


# --- disjoint --------------------------------------------------------------------------------

DISJOINT = [
    ("up", "down", "__name__"),
    ('up{job="a"}', 'down{job="a"}', "__name__"),
    ('{job="a"}', '{job="b"}', "job"),
    ('{job="a"}', '{job=~"b|c"}', "job"),
    ('{job=~"a|b"}', '{job=~"c|d"}', "job"),
    ('{job="a"}', '{job!="a",x="y"}', "job"),
    ('{job="a"}', '{job!~"a|b",x="y"}', "job"),
    ('{job="a"}', '{job!~"a.*",x="y"}', "job"),
    ('{job="abc"}', '{job=~"b.*"}', "job"),
    ('{job=~"a.+"}', '{job=~"b.+"}', "job"),
    ('{job=~"a.+"}', '{job!~"a.+",x="y"}', "job"),
    ('{job="a"}', '{job="",x="y"}', "job"),
    ('{__name__=~"node_.*"}', '{__name__=~"http_.*"}', "__name__"),
    ('{__name__=~"node_.*"}', "up", "__name__"),
    ('{job="a",env="prod"}', '{job="a",env="dev"}', "env"),
]

OVERLAPPING = [
    ("up", "up"),
    ("up", '{job="a"}'),
    ('up{job="a"}', 'up{env="b"}'),
    ('{job="a"}', '{job=~"a|b"}'),
    ('{job=~"a.*"}', '{job=~".*a"}'),
    ('{job=~"ab.*"}', '{job=~"a.*"}'),
    ('{job=~"ab?.*"}', '{job=~"ac.*"}'),
    ('{job=~"ab*"}', '{job="a"}'),
    ('{job=~"a|b.*"}', '{job="a"}'),
    ('{job=~"(?i)A"}', '{job="a"}'),
    ('{job=~"a.c"}', '{job="a\\nc"}'),
    ('{job="a"}', '{job!="b",x="y"}'),
    ('{__name__=~".+"}', "up"),
    ('{env!="prod",job="a"}', '{env!~"dev",job="a"}'),
]


@pytest.mark.parametrize(("left", "right", "label"), DISJOINT)
def test_what_no_series_can_be_in_both(left: str, right: str, label: str) -> None:
    one, other = parse_selector(left), parse_selector(right)
    assert disjoint_label(one, other) == label
    assert disjoint_label(other, one) == label


@pytest.mark.parametrize(("left", "right"), OVERLAPPING)
def test_what_some_series_may_be_in_both(left: str, right: str) -> None:
    one, other = parse_selector(left), parse_selector(right)
    assert disjoint_label(one, other) is None
    assert disjoint_label(other, one) is None


few = st.sampled_from(["", "a", "b", "ab", "ba", "aab"])
patterns = st.sampled_from(
    ["a", "a|b", "a.*", ".*b", "ab?", "a*", "[ab]", "(a|b)+", "b|a.*", "ab.*", ""]
)
small_matchers = st.lists(
    st.builds(Matcher, st.sampled_from(["x", "y"]), st.sampled_from(["=", "!="]), few)
    | st.builds(Matcher, st.sampled_from(["x", "y"]), st.sampled_from(["=~", "!~"]), patterns),
    max_size=3,
).map(lambda matchers: Selector(tuple(matchers)))


@given(left=small_matchers, right=small_matchers, x=few, y=few)
def test_a_series_in_both_is_never_denied(left: Selector, right: Selector, x: str, y: str) -> None:
    labels = {"x": x, "y": y}
    in_both = all(each.matches(labels[each.label]) for each in left.matchers + right.matchers)
    if in_both:
        assert disjoint_label(left, right) is None


# --- names in expressions --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        ("up", {"up"}),
        ('up{job="a"}', {"up"}),
        ("rate(http_requests_total[5m])", {"http_requests_total"}),
        ("sum by (job, handler) (rate(a_total[5m])) / on (job) b", {"a_total", "b"}),
        ("sum(x) without (up)", {"x"}),
        ("a and b or c unless d", {"a", "b", "c", "d"}),
        ("a offset 5m + b @ end()", {"a", "b"}),
        ('label_replace(a, "up", "$1", "down", "(.*)")', {"a"}),
        ('{__name__="up"}', {"up"}),
        ('{__name__=~"up|down"}', {"up", "down"}),
        ('{"http.requests", job="x"}', {"http.requests"}),
        ('{"service.name"="up"}', set()),
        ("job:rate:sum5m * 1e5 + 0x1F", {"job:rate:sum5m"}),
        ("up # down\n + left", {"up", "left"}),
        ("histogram_quantile(0.9, sum by (le) (rate(h_bucket[5m])))", {"h_bucket"}),
    ],
)
def test_metric_names_in_an_expression(expr: str, names: set[str]) -> None:
    assert metric_names(expr) == names


# --- expressions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expr", "reason"),
    [
        ("  ", "is not PromQL: no expression found"),
        ("rate(up)", "is not PromQL: expected type matrix in call to function 'rate', got vector"),
        ("sum by (job (up)", "is not PromQL: "),
        ("nonsense(up)", "is not PromQL: unknown function with name 'nonsense'"),
        ("rate(up[5s5m])", "is not PromQL: not a valid duration string: 5s5m"),
        ('sum({job=~".*"})', "needs a matcher that refuses the empty value"),
        ('sum(up{job=~"a("})', "has a regex that RE2 refuses"),
        ('sum(up{job="\\q"})', "has an unknown escape"),
        ("a + \ud800", "is not UTF-8 text"),
        # No label has such a value; Prometheus accepts it and finds nothing.
        ('up{job="\\xff"}', "has a text that is not UTF-8 (column 8)"),
        ("up[" + "9" * 30 + "]", "is not PromQL: cannot convert"),
        # The library would overflow the stack, which ends the process.
        ("-" * 30_000 + "up", "has more than 2000 operators and parentheses"),
        ("(" * 30_000 + "up" + ")" * 30_000, "has more than 2000 operators and parentheses"),
    ],
)
def test_an_expression_that_cannot_be_read_is_refused_with_its_reason(
    expr: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_expression(expr)
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "expr",
    [
        "1",
        "holt_winters(a[5m], 0.5, 0.5)",
        "double_exponential_smoothing(a[5m], 0.5, 0.5)",
        'label_replace(a, "x", "$1", "y", `(\\d+)`)',
        'count_values("größe", sum by ("service.name") ({"http.requests"}))',
        "a * on (job) group_left (x) b offset -5m @ start()",
        "+".join(["up"] * 2_000),
    ],
)
def test_an_expression_that_prometheus_accepts_is_accepted(expr: str) -> None:
    check_expression(expr)


@pytest.mark.parametrize(
    ("text", "admitted", "refused"),
    [
        ("x", ["x", "x_bucket", "x_count", "x_sum"], ["x_total", "y", "x_bucket_sum"]),
        ('{__name__="a.b"}', ["a.b", "a.b_sum"], ["axb", "axb_sum"]),
        ('{__name__=~"a|b"}', ["a", "b_count"], ["c", "ab"]),
        ('{__name__=~"a.|b+"}', ["ax", "ax_sum", "bb_sum"], ["a", "c_sum"]),
        ('{__name__=~"http_.*"}', ["http_x", "http_x_bucket"], ["rpc_x"]),
        ('{job="a",__name__!="x"}', ["y", "y_sum", "x_sum"], []),
    ],
)
def test_with_classic_series_names_may_have_their_suffixes(
    text: str, admitted: list[str], refused: list[str]
) -> None:
    selector = parse_selector(text).with_classic()
    assert [name for name in admitted + refused if selector.names_can_be(name)] == admitted


@pytest.mark.parametrize(
    ("text", "admitted", "refused"),
    [
        ("x", ["x", "x_bucket", "x_count", "x_sum"], ["x_total", "y", "x_bucket_sum"]),
        ('{a="b",__name__!="x"}', ["y", "y_sum", "x_sum"], ["x"]),
        ('{a="b",__name__!~"x|x_.*"}', ["y_count"], ["x", "x_count", "x_sum", "x_bucket"]),
        ('{a="b",__name__!~".*_sum"}', ["y_sum", "y"], ["y_sum_sum"]),
        ('{__name__=~"x.*",__name__!~".*y"}', ["x_sum", "xz_sum"], ["xy"]),
        ('{a="b",__name__=""}', [], ["_count", "_sum_sum"]),
    ],
)
def test_whether_a_name_can_be_of_a_classic_series_is_told_exactly(
    text: str, admitted: list[str], refused: list[str]
) -> None:
    selector = parse_selector(text)
    names = admitted + refused
    assert [name for name in names if selector.names_can_be(name, classic=True)] == admitted


def test_with_classic_series_prefixes_and_other_labels_still_exclude() -> None:
    http, rpc = (parse_selector(f'{{__name__=~"{name}_.*"}}') for name in ("http", "rpc"))
    assert disjoint_label(http.with_classic(), rpc) == "__name__"
    assert disjoint_label(parse_selector("x").with_classic(), parse_selector("x_sum")) is None
    jobs = [parse_selector(f'{{job="{job}",le="1"}}').with_classic() for job in ("a", "b", "a")]
    assert disjoint_label(jobs[0], jobs[1]) == "job"
    assert parse_selector('{job="a",le="1"}').with_classic().on("le") == ()
