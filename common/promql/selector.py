"""A parser of PromQL vector selectors, and what two of them can have in common.

Grammar: ``name{label="value", label=~"regex", "quoted name", "quoted label"!="x"}`` with Go's
string escapes and ``#`` comments, as in
https://prometheus.io/docs/prometheus/latest/querying/basics/ and, for quoted names,
https://prometheus.io/docs/guides/utf8/. Regexes are RE2 and fully anchored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from common.errors import ConfigError
from common.optional import optional_module

Operator = Literal["=", "!=", "=~", "!~"]

NAME_LABEL = "__name__"

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)+")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OPERATOR = re.compile(r"=~|!~|!=|=")
_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"|\'((?:[^\'\\\n]|\\.)*)\'|`([^`]*)`')
_ESCAPE = re.compile(
    rb"\\(?:([abfnrtv\\\"'])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.?))",
    re.DOTALL,
)
_SIMPLE_ESCAPES = {
    bytes([char]): bytes([meant])
    for char, meant in zip(b"abfnrtv\\\"'", b"\a\b\f\n\r\t\v\\\"'", strict=True)
}
_TOKEN = re.compile(
    rf"{_SPACE.pattern}|{_STRING.pattern}|[0-9][0-9a-zA-Z.]*|{_METRIC.pattern}|.", re.DOTALL
)
_GROUPING = frozenset(("by", "without", "on", "ignoring", "group_left", "group_right"))
_KEYWORDS = _GROUPING | {"and", "or", "unless", "atan2", "offset", "bool", "inf", "nan"}
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

    def matches(self, value: str) -> bool | None:
        """Whether ``value`` matches; None when the regex cannot be evaluated here."""
        if self.operator in ("=", "!="):
            return (value == self.value) == (self.operator == "=")
        listed = Matcher(self.label, "=~", self.value).values
        found = value in listed if listed is not None else _regex_matches(self.value, value)
        return None if found is None else found == (self.operator == "=~")


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed vector selector: all of its matchers, the name's among them."""

    matchers: tuple[Matcher, ...]

    def on(self, label: str) -> tuple[Matcher, ...]:
        """The matchers on one label."""
        return tuple(matcher for matcher in self.matchers if matcher.label == label)

    def names_can_be(self, name: str) -> bool:
        """Whether the matchers on the metric's name admit ``name``."""
        return all(matcher.matches(name) is not False for matcher in self.on(NAME_LABEL))

    def named(self, name: str) -> str:
        """The text of a selector of the same series, but for those of other names."""
        matchers = (*self.matchers, Matcher(NAME_LABEL, "=", name))
        return "{" + ", ".join(map(_text, matchers)) + "}"

    @property
    def pins_names(self) -> bool:
        """Whether the selector says which metrics it wants, beyond excluding some."""
        return any(
            matcher.operator in ("=", "=~") and matcher.value not in (".*", ".+")
            for matcher in self.on(NAME_LABEL)
        )


def parse_selector(text: str) -> Selector:
    """Parse a plain vector selector.

    Raises :class:`ConfigError` saying what is wrong and at which column, also for what PromQL
    allows but a selector of raw samples cannot have: a range, ``offset``, ``@``, functions,
    operators.
    """
    return _Parser(text).selector()


def disjoint_label(left: Selector, right: Selector) -> str | None:
    """A label by which no series can match both selectors; None when there may be such a series."""
    labels = {matcher.label for matcher in left.matchers + right.matchers}
    # The name first: relabelling rarely touches it.
    for label in sorted(labels, key=lambda label: (label != NAME_LABEL, label)):
        mine, other = left.on(label), right.on(label)
        if _contradict(mine + other) or _prefixes_differ(mine, other):
            return label
    return None


def bare_names(expr: str) -> frozenset[str]:
    """Identifiers in a PromQL expression that may be metric names, and names quoted in braces.

    Function names, label names in braces and in ``by (…)`` lists, and texts are left out.
    """
    words = [match[0] for match in _TOKEN.finditer(expr) if not _SPACE.fullmatch(match[0])]
    names = set()
    skip_until = ""
    for index, word in enumerate(words):
        before, after = words[index - 1 : index], words[index + 1 : index + 2]
        if skip_until == "}" and _STRING.fullmatch(word):
            alone = before in (["{"], [","]) and after in ([","], ["}"])
            pinned = words[index - 2 : index] == [NAME_LABEL, "="]
            if alone or pinned:
                names.add(word[1:-1])
        if skip_until:
            skip_until = "" if word == skip_until else skip_until
        elif word == "{":
            skip_until = "}"
        elif word.lower() in _GROUPING and after == ["("]:
            skip_until = ")"
        elif after and after[0].lower() in ("(", "by", "without"):
            continue  # the name of a function or an aggregation
        elif _METRIC.fullmatch(word) and word.lower() not in _KEYWORDS:
            names.add(word)
    return frozenset(names)


def _text(matcher: Matcher) -> str:
    # JSON's escapes are among Go's.
    value = json.dumps(matcher.value, ensure_ascii=False)
    label = matcher.label
    if not _LABEL.fullmatch(label):
        label = json.dumps(label, ensure_ascii=False)
    return f"{label}{matcher.operator}{value}"


def _contradict(matchers: tuple[Matcher, ...]) -> bool:
    for matcher in matchers:
        if matcher.values is not None:
            return not any(
                all(other.matches(value) is not False for other in matchers)
                for value in matcher.values
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


def _regex_matches(pattern: str, value: str) -> bool | None:
    compiled = _compile(pattern)
    return compiled if compiled is None else compiled.fullmatch(value) is not None


def _regex_error(pattern: str) -> str | None:
    try:
        _compile(pattern)
    except ValueError as error:
        return str(error)
    return None


def _compile(pattern: str) -> Any:
    """The pattern as Prometheus compiles it; None in a service that has no RE2.

    Raises :class:`ValueError` with RE2's own words.
    """
    re2 = optional_module("re2")
    if re2 is None:
        return None
    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False  # it would write to stderr beside the log
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0] if error.args else error
        raise ValueError(why.decode(errors="replace") if isinstance(why, bytes) else why) from None


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def selector(self) -> Selector:
        matchers: list[Matcher] = []
        self._skip_space()
        if name := self._take(_METRIC):
            if self._peek() == "(":
                raise self._error(f"calls {name}: a select is a plain selector, not an expression")
            matchers.append(Matcher(NAME_LABEL, "=", name))
        if self._peek() == "{":
            matchers += self._braces(named=bool(name))
        elif not name:
            raise self._error('is not a selector such as up{job="a"}')
        self._end()
        if all(matcher.matches("") for matcher in matchers):
            raise self._error("needs a matcher that refuses the empty value")
        return Selector(tuple(matchers))

    def _braces(self, named: bool) -> Iterator[Matcher]:
        self._expect("{", "an opening brace")
        while self._peek() != "}":
            quoted = self._peek() in ('"', "'", "`")
            label = self._string() if quoted else self._take(_LABEL)
            if label is None:
                raise self._error("needs a label name")
            operator = self._take(_OPERATOR)
            if operator is None and quoted:
                if named:
                    raise self._error("names the metric twice")
                named = True
                yield Matcher(NAME_LABEL, "=", label)
            elif operator is None:
                raise self._error("needs one of = != =~ !~ after a label name")
            else:
                yield self._matcher(label, operator, named)
            if self._peek() != "}":
                self._expect(",", "a comma or a closing brace")
        self._expect("}", "a closing brace")

    def _matcher(self, label: str, operator: str, named: bool) -> Matcher:
        value = self._string()
        if label == NAME_LABEL and named:
            raise self._error("names the metric twice")
        if operator == "=":
            return Matcher(label, "=", value)
        if operator == "!=":
            return Matcher(label, "!=", value)
        if why := _regex_error(value):
            raise self._error(f"has a regex that RE2 refuses: {why}")
        return Matcher(label, "=~" if operator == "=~" else "!~", value)

    def _string(self) -> str:
        match = _STRING.match(self.text, self.position)
        if not match:
            raise self._error("needs a quoted text")
        self.position = match.end()
        self._skip_space()
        if match[3] is not None:
            return match[3]
        return self._unescape(match[1] if match[1] is not None else match[2])

    def _unescape(self, text: str) -> str:
        # Go's \x and octal escapes are bytes, so the text is only whole as UTF-8 in the end.
        def replace(match: re.Match[bytes]) -> bytes:
            simple, byte, short, long, octal, unknown = match.groups()
            try:
                if unknown is not None:
                    raise ValueError
                if simple is not None:
                    return _SIMPLE_ESCAPES[simple]
                if byte or octal:
                    return bytes([int(byte, 16) if byte else int(octal, 8)])
                return chr(int(short or long, 16)).encode()
            except (ValueError, OverflowError):
                shown = match[0].decode(errors="replace")
                raise self._error(f"has an unknown escape {shown}") from None

        try:
            return _ESCAPE.sub(replace, text.encode()).decode()
        except UnicodeError:
            raise self._error("has a text that is not UTF-8") from None

    def _end(self) -> None:
        rest = self.text[self.position :]
        if not rest:
            return
        if rest.startswith("["):
            raise self._error("has a range: leave it out, the windows choose it")
        if rest.startswith("@") or re.match(r"offset\b", rest, re.IGNORECASE):
            raise self._error(
                "has a modifier (offset or @): leave it out, the windows choose the time"
            )
        raise self._error(
            "goes on after the selector: a select is a plain selector, not an expression"
        )

    def _skip_space(self) -> None:
        if match := _SPACE.match(self.text, self.position):
            self.position = match.end()

    def _peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self.text, self.position)
        if not match:
            return None
        self.position = match.end()
        self._skip_space()
        return match[0]

    def _expect(self, char: str, what: str) -> None:
        if self._peek() != char:
            raise self._error(f"needs {what}")
        self.position += 1
        self._skip_space()

    def _error(self, what: str) -> ConfigError:
        return ConfigError(f"{self.text!r:.80} {what} (column {self.position + 1})")
