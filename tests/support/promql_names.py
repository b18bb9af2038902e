"""Which metrics a PromQL expression names, and which labels of them: a reader for tests.

It knows the parts of the language that monitoring/ uses; what it does not know is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

KEYWORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring"}
KEYWORDS |= {"group_left", "group_right"}
_LABEL_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>"[^"]*")
    |(?P<range>\[[^\]]*\])
    |(?P<braces>\{[^}]*\})
    |(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    |(?P<number>[0-9.]+(e-?[0-9]+)?([smhdwy]|ms)?)
    |(?P<other>==|!=|<=|>=|[-+*/%^(),<>@])
    """,
    re.VERBOSE,
)
_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"([^"]*)"\s*')


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric as an expression selects it: its matchers, as (label, operator, value)."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


def selectors(expr: str) -> list[Selector]:
    """Every metric that ``expr`` names. Raises ValueError for what this reader does not know."""
    tokens = list(_tokens(expr))
    found = []
    index = 0
    while index < len(tokens):
        kind, text = tokens[index]
        follower = tokens[index + 1] if index + 1 < len(tokens) else ("end", "")
        if kind == "name" and text in _LABEL_LISTS and follower == ("other", "("):
            index += 2
            while tokens[index] != ("other", ")"):
                index += 1
        elif (
            kind == "name"
            and text not in KEYWORDS
            and follower != ("other", "(")
            # An aggregation may have its labels between its name and its argument.
            and follower not in (("name", "by"), ("name", "without"))
        ):
            braces = follower[1] if follower[0] == "braces" else "{}"
            found.append(Selector(text, _matchers(braces)))
        index += 1
    return found


def label_lists(expr: str) -> set[str]:
    """Every label that ``expr`` groups or matches by."""
    tokens = list(_tokens(expr))
    labels = set()
    for index, (kind, text) in enumerate(tokens):
        if kind == "name" and text in _LABEL_LISTS and tokens[index + 1] == ("other", "("):
            end = tokens.index(("other", ")"), index)
            labels |= {word for part, word in tokens[index + 2 : end] if part == "name"}
    return labels


def _tokens(expr: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(expr):
        match = _TOKEN.match(expr, position)
        if match is None:
            raise ValueError(f"{expr[position : position + 20]!r} of {expr!r}")
        position = match.end()
        kind = match.lastgroup or next(
            name for name, text in match.groupdict().items() if text is not None
        )
        if kind != "space":
            yield kind, match[0]


def _matchers(braces: str) -> tuple[tuple[str, str, str], ...]:
    inner = braces[1:-1]
    found = []
    position = 0
    while position < len(inner):
        match = _MATCHER.match(inner, position)
        if match is None:
            raise ValueError(f"{inner[position:]!r} of {braces!r}")
        found.append((match[1], match[2], match[3]))
        position = match.end()
        if position < len(inner):
            if inner[position] != ",":
                raise ValueError(f"{inner[position:]!r} of {braces!r}")
            position += 1
    return tuple(found)
