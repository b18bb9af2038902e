"""Selectors and PromQL expressions, as far as anything here reads them."""

from __future__ import annotations

from typing import Any

from common.errors import ConfigError
from common.promql.reach import reach_of
from common.promql.selector import (
    Selector,
    check_expression,
    disjoint_label,
    metric_names,
    parse_selector,
)
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Target, require

_TOKENS = (
    *("{", "}", "(", ")", "[5m]", ",", "=", "!=", "=~", "!~", '"', "'", "`", "#", "\n", " ", "\\"),
    *("__name__", "job", "up", "a:b", "offset 5m", "@ 1", "by", "or", "rate", '"a.b"', ".*", "a|b"),
    *("\\x41", "\\u00e9", "\\U0010ffff", "\\ud800", "\\377", "\\q", "(?i)", "a{2}", "[^a]", "x?"),
    *("[5m:1m]", "[1h30m]", "[5s5m]", "[99y]", "[0s]", "sum", "le", "0.5", "inf", "nan"),
)
_SELECTORS = (
    "up",
    'up{job="a"}',
    '{__name__=~"http_.*", job!="b"}',
    "{\"größe.in.µs\", 'le'=`\\d+`,}",
    'a:b{le=~"0.5|1",x!~"^y$"} # comment',
    '{job="a",job!="b",x=~"(a|b).*"}',
)
_EXPRESSIONS = (
    *_SELECTORS,
    'sum by (job) (rate(http_requests_total{job="a"}[5m])) or on() vector(0)',
    'histogram_quantile(0.95, sum by (le) (rate(x_bucket{job=~"a|b"}[5m] offset 1m)))',
    'max_over_time({"a.b"}[1h:30s])',
)


class Selectors(Target):
    """A selector or :class:`ConfigError`; written out plainly it is the same selector."""

    name = "selectors"
    weight = 40

    def make(self, m: Mutator) -> tuple[str, str]:
        """Two selectors."""
        return _selector(m), _selector(m)

    def check(self, case: Any) -> bool:
        """Parsing is stable; what two have in common does not depend on their order."""
        left, right = _parsed(case[0]), _parsed(case[1])
        if left is None or right is None:
            return False
        for selector in (left, right):
            _check_written_out(selector)
        one, other = disjoint_label(left, right), disjoint_label(right, left)
        require((one is None) == (other is None), "depends on the order", one, other)
        if left.matchers == right.matchers:
            require(one is None or not _satisfiable(left), "disjoint from itself")
        left.names_can_be("up")
        return True


def _selector(m: Mutator) -> str:
    return m.text(m.pick(_SELECTORS), _TOKENS, rounds=m.below(3))


def _parsed(text: str) -> Selector | None:
    try:
        return parse_selector(text)
    except ConfigError as error:
        require(len(error.problems) == 1, "several problems")
        return None


def _satisfiable(selector: Selector) -> bool:
    """Whether a list of values alone does not rule everything out."""
    return disjoint_label(selector, Selector(())) is None


def _check_written_out(selector: Selector) -> None:
    texts = [text for one in selector.matchers for text in (one.label, one.value)]
    if any("\ud800" <= char <= "\udfff" for text in texts for char in text):
        return  # cannot be written between quotes
    matchers = (f"{_quoted(m.label)}{m.operator}{_quoted(m.value)}" for m in selector.matchers)
    again = parse_selector("{" + ",".join(matchers) + "}")
    require(again == selector, "another selector when written out", again)


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


class Expressions(Target):
    """Names and reach of any expression, or :class:`ConfigError`."""

    name = "expressions"
    weight = 25

    def make(self, m: Mutator) -> str:
        """An expression, damaged."""
        return m.text(m.pick(_EXPRESSIONS), _TOKENS, rounds=m.below(5))

    def check(self, case: Any) -> bool:
        """Names are names, and nothing reaches ahead only."""
        try:
            check_expression(case)
        except ConfigError as error:
            require(len(error.problems) == 1, "several problems")
            return False
        require(all(isinstance(name, str) for name in metric_names(case)), "a name is no text")
        require(reach_of(case).back_ms >= 0, "reaches ahead only")
        return True
