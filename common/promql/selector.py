"""Vector selectors of PromQL, and what two of them can have in common.

Regexes are RE2 and anchored at both ends, as in
https://prometheus.io/docs/prometheus/latest/querying/basics/.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import promql_parser
from promql_parser import MatchOp

from common.errors import ConfigError
from common.promql.expression import Expression, parse_expression

Operator = Literal["=", "!=", "=~", "!~"]

NAME_LABEL = "__name__"

# What the names of a histogram's classic series end in, and the label of its buckets.
CLASSIC_SUFFIXES = ("_bucket", "_count", "_sum")
BUCKET_LABEL = "le"
# What the name of a series ends in that is made of the histograms of an expression, whose own name
# the query's takes the place of. On the way alone: such labels reach no sink.
CLASSIC_LABEL = "__classic__"

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_REGEX_META = re.compile(r"[\\.+*?()|\[\]{}^$]")


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label; an absent label has the value ``""``."""

    label: str
    operator: Operator
    value: str

    @property
    def values(self) -> frozenset[str] | None:
        """Every value that matches, where they can be listed; else None."""
        if self.operator == "=":
            return frozenset((self.value,))
        if self.operator == "=~":
            alternatives = self.value.split("|")
            if not any(_REGEX_META.search(alternative) for alternative in alternatives):
                return frozenset(alternatives)
        return None

    @property
    def prefix(self) -> str:
        """A text that every matching value begins with; ``""`` where nothing is known."""
        if self.operator == "=":
            return self.value
        meta = _REGEX_META.search(self.value)
        if self.operator != "=~" or "|" in self.value or not meta:
            return ""
        # A quantifier makes the character before it optional.
        end = meta.start() - (1 if meta[0] in "?*{" else 0)
        return self.value[: max(0, end)]

    def matches(self, value: str) -> bool:
        """Whether ``value`` matches; the regex, if it is one, must be valid."""
        if self.operator in ("=", "!="):
            return (value == self.value) == (self.operator == "=")
        return bool(_compile(self.value).fullmatch(value)) == (self.operator == "=~")


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed vector selector: all of its matchers, the name's among them."""

    matchers: tuple[Matcher, ...]

    def on(self, label: str) -> tuple[Matcher, ...]:
        """The matchers on one label."""
        return tuple(matcher for matcher in self.matchers if matcher.label == label)

    def names_can_be(self, name: str, *, classic: bool = False) -> bool:
        """Whether the matchers on the metric's name admit ``name``.

        ``classic``: or as that of a classic series of a native histogram.
        """
        names = [name]
        if classic:
            names += [
                name.removesuffix(suffix)
                for suffix in CLASSIC_SUFFIXES
                if name.endswith(suffix) and name != suffix
            ]
        return any(all(one.matches(each) for one in self.on(NAME_LABEL)) for each in names)

    def named(self, name: str) -> str:
        """The text of a selector of the same series, but for those of other names."""
        matchers = (*self.matchers, Matcher(NAME_LABEL, "=", name))
        return "{" + ", ".join(map(_text, matchers)) + "}"

    def with_classic(self) -> Selector:
        """That of these series and of the classic ones of native histograms among them.

        It may admit more, where names or bounds of buckets are excluded: whether a name can be
        theirs, :meth:`names_can_be` says.

        Raises :class:`ConfigError` for a regex that nothing can stand behind.
        """
        kept = [one for one in self.matchers if one.label not in (NAME_LABEL, BUCKET_LABEL)]
        named = [one for one in self.on(NAME_LABEL) if one.operator in ("=", "=~")]
        # What all names begin with can be seen only where there are no alternatives.
        begin = [
            Matcher(NAME_LABEL, "=~", f"{one.prefix}.*") for one in named if one.values is None
        ]
        return Selector((*map(_or_classic, named), *begin, *kept))

    @property
    def pins_names(self) -> bool:
        """Whether the selector says which metrics it wants, beyond excluding some."""
        return any(
            matcher.operator in ("=", "=~") and matcher.value not in (".*", ".+")
            for matcher in self.on(NAME_LABEL)
        )


def parse_selector(source: str) -> Selector:
    """Parse a plain vector selector.

    Raises :class:`ConfigError` saying what is wrong, also for what PromQL allows but a selector of
    raw samples cannot have: a range, ``offset``, ``@``, functions, operators.
    """
    expression = parse_expression(source)
    tree = expression.tree
    if isinstance(tree, promql_parser.MatrixSelector | promql_parser.SubqueryExpr):
        raise ConfigError(f"{source!r:.80} has a range: leave it out, the windows choose it")
    if not isinstance(tree, promql_parser.VectorSelector):
        raise ConfigError(
            f'{source!r:.80} is an expression, not a plain selector such as up{{job="a"}}'
        )
    if tree.offset is not None or tree.at is not None:
        raise ConfigError(
            f"{source!r:.80} has a modifier (offset or @): leave it out, "
            "the windows choose the time"
        )
    return selector_of(source, expression, tree)


def check_expression(source: str) -> None:
    """Raises :class:`ConfigError` for an expression that Prometheus would refuse to parse."""
    selectors_of(source)


def selectors_of(source: str) -> list[Selector]:
    """Every selector of an expression; raises :class:`ConfigError`."""
    expression = parse_expression(source)
    return [selector_of(source, expression, tree) for tree in expression.selectors()]


def metric_names(source: str) -> frozenset[str]:
    """The metric names that an expression pins, by ``=`` or by a regex that lists them."""
    expression = parse_expression(source)
    return frozenset(
        name
        for tree in expression.selectors()
        for matcher in _matchers(expression, tree)
        if matcher.label == NAME_LABEL
        for name in matcher.values or ()
    )


def disjoint_label(left: Selector, right: Selector) -> str | None:
    """A label by which no series can match both selectors; None when there may be such a series."""
    labels = {matcher.label for matcher in left.matchers + right.matchers}
    # The name first: relabelling rarely touches it.
    for label in sorted(labels, key=lambda label: (label != NAME_LABEL, label)):
        mine, other = left.on(label), right.on(label)
        if _contradict(mine + other) or _prefixes_differ(mine, other):
            return label
    return None


# By their texts: the library's operators cannot be hashed.
_OPERATORS: dict[str, Operator] = {
    str(MatchOp.Equal): "=",
    str(MatchOp.NotEqual): "!=",
    str(MatchOp.Re): "=~",
    str(MatchOp.NotRe): "!~",
}


def selector_of(
    source: str, expression: Expression, tree: promql_parser.VectorSelector
) -> Selector:
    """The selector of one node, after the checks that Prometheus makes and the library does not."""
    if tree.matchers.or_matchers:
        raise ConfigError(f"{source!r:.80} has `or` between matchers, which Prometheus refuses")
    matchers = tuple(_matchers(expression, tree))
    for matcher in matchers:
        if matcher.operator in ("=~", "!~") and (reason := _regex_error(matcher.value)):
            raise ConfigError(f"{source!r:.80} has a regex that RE2 refuses: {reason}")
    if sum(matcher.label == NAME_LABEL and matcher.operator == "=" for matcher in matchers) > 1:
        raise ConfigError(f"{source!r:.80} names the metric twice")
    if all(matcher.matches("") for matcher in matchers):
        raise ConfigError(f"{source!r:.80} needs a matcher that refuses the empty value")
    return Selector(matchers)


def _matchers(expression: Expression, tree: promql_parser.VectorSelector) -> list[Matcher]:
    named = [] if tree.name is None else [Matcher(NAME_LABEL, "=", tree.name)]
    return named + [
        Matcher(
            expression.text(found.name), _OPERATORS[str(found.op)], expression.text(found.value)
        )
        for found in tree.matchers.matchers
    ]


def _text(matcher: Matcher) -> str:
    # JSON's escapes are among Go's.
    value = json.dumps(matcher.value, ensure_ascii=False)
    label = matcher.label
    if not _LABEL.fullmatch(label):
        label = json.dumps(label, ensure_ascii=False)
    return f"{label}{matcher.operator}{value}"


def _or_classic(matcher: Matcher) -> Matcher:
    """Of the names that match, and of their classic series."""
    import re2  # where it is needed: 2 MiB, and most selectors have no regex

    if matcher.values is not None:
        suffixes = ("", *CLASSIC_SUFFIXES)
        names = [name + suffix for name in sorted(matcher.values) for suffix in suffixes]
        plain = not any(map(_REGEX_META.search, names))
        return Matcher(NAME_LABEL, "=~", "|".join(names if plain else map(re2.escape, names)))
    pattern = f"(?:{matcher.value})(?:{'|'.join(CLASSIC_SUFFIXES)})?"
    if _regex_error(pattern):
        raise ConfigError(
            f"the regex {matcher.value!r:.80} has \\Q without \\E: add it, because the names of "
            "classic series have more behind it"
        )
    return Matcher(NAME_LABEL, "=~", pattern)


def _contradict(matchers: tuple[Matcher, ...]) -> bool:
    for matcher in matchers:
        if matcher.values is not None:
            return not any(
                all(other.matches(value) for other in matchers) for value in matcher.values
            )
    wanted = {matcher.value for matcher in matchers if matcher.operator == "=~"}
    refused = {matcher.value for matcher in matchers if matcher.operator == "!~"}
    return bool(wanted & refused)


def _prefixes_differ(left: tuple[Matcher, ...], right: tuple[Matcher, ...]) -> bool:
    return any(
        not mine.prefix.startswith(other.prefix) and not other.prefix.startswith(mine.prefix)
        for mine in left
        for other in right
    )


def _regex_error(pattern: str) -> str | None:
    import re2

    try:
        _compile(pattern)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    return None


@lru_cache(maxsize=256)
def _compile(pattern: str) -> Any:
    """The pattern as Prometheus compiles it."""
    import re2

    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False  # it would write to stderr beside the log
    return re2.compile(pattern, options)
