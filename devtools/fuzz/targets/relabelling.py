"""Relabelling rules as settings accept them, and replacement templates."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from common.config import RelabelRule
from common.errors import ConfigError
from common.promql.relabel import Step, compile_rules
from common.promql.relabel_template import expand, parse_template
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Target, require

_ACTIONS = (
    *("replace", "replace", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap"),
    *("labeldrop", "labelkeep", "lowercase", "uppercase", "Replace", "nothing"),
)
_REGEXES = (
    *(
        "(.*)",
        "a",
        "a|b",
        "([^:]+):(\\d+)",
        "(?P<port>[0-9]+)",
        "(?i)job",
        "x*",
        "",
        ".+",
        "__(.*)",
    ),
    *(
        "((a*)*)*",
        "(a|aa)+$",
        "[[:alpha:]]+",
        "\\pL+",
        "a{1000}",
        "(?:a{500}){500}",
        "\\C",
        "(?=a)",
    ),
)
_TEMPLATES = (
    "${1²}",
    "$1²",
    "${٣}",
    "$1",
    "${1}",
    "$0",
    "$$",
    "${port}_x",
    "$1x",
    "$port",
    "a",
    "",
    "$2$1",
    "${2",
    "$10",
)
_TOKENS = (*_REGEXES, *_TEMPLATES, "(", ")", "[", "]", "*", "\\", "^", "$", "é", "٣", "_", "²")
_LABELS = ("__name__", "job", "instance", "a", "le", "größe", "__tmp", "")


class Relabelling(Target):
    """Rules are refused by :class:`ConfigError` (or by validation), or work on every label set."""

    name = "relabelling"
    weight = 60

    def make(self, m: Mutator) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """A few rules, and the labels of a series."""
        rules = [_rule(m) for _ in range(m.between(1, 3))]
        values = ("", "a", "b", "host:9090", "aaaaaaaaaaaaaaaaaaaaaaaaaaab", "ÀÉß", "İǆ", "x" * 300)
        labels = {
            name if m.chance(0.8) else _clean(m.word()): _clean(m.pick((*values, m.word())))
            for name in _LABELS
            if m.chance(0.6)
        }
        return rules, labels

    def check(self, case: Any) -> bool:
        """Never an error, never an empty label that was not there, always the same again."""
        raw, labels = case
        try:
            rules = [RelabelRule(**rule) for rule in raw]
            relabel = compile_rules(rules)
        except (ValidationError, ConfigError):
            return False
        kept, changed = _applied(relabel, labels)
        require(_applied(relabel, labels) == (kept, changed), "different the second time")
        require(_applied(compile_rules(rules), labels) == (kept, changed), "depends on its cache")
        for name, value in changed.items():
            name.encode(), value.encode()
            require(bool(value) or labels.get(name) == "", "a label was set to nothing", name)
        for rule in rules:
            if rule.action in ("keep", "drop"):
                other = rule.model_copy(
                    update={"action": "drop" if rule.action == "keep" else "keep"}
                )
                mine, theirs = (_applied(compile_rules([r]), labels)[0] for r in (rule, other))
                require(mine != theirs, "keep and drop agree")
        return True


def _rule(m: Mutator) -> dict[str, Any]:
    action = m.pick(_ACTIONS)
    rule: dict[str, Any] = {"action": action}
    if not action.startswith("label"):
        rule["source_labels"] = m.some(_LABELS[:-1], 3)
        rule["target_label"] = m.pick(("job", "a", "new", "${1}", "x_$1", "größe"))
    if not action.endswith("equal"):
        rule["regex"] = m.text(m.pick(_REGEXES), _TOKENS, rounds=m.below(3))
    if action in ("replace", "Replace", "labelmap"):
        rule["replacement"] = m.text(m.pick(_TEMPLATES), _TOKENS, rounds=m.below(3))
    if action == "hashmod":
        rule["modulus"] = m.integer() if m.chance(0.5) else 8
    if m.chance(0.2):
        rule["separator"] = m.word()
    if m.chance(0.1):
        rule[m.pick(list(rule))] = m.plain(3)
    # Settings hold no text that cannot be encoded.
    return {key: _clean(value) if isinstance(value, str) else value for key, value in rule.items()}


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which no decoder lets through."""
    return text.encode("utf-8", "ignore").decode()


def _applied(relabel: Step, labels: dict[str, str]) -> tuple[bool, dict[str, str]]:
    changed = dict(labels)
    return relabel(changed), changed


class Templates(Target):
    """Templates filled as a scan, character by character, fills them."""

    name = "templates"
    weight = 15

    def make(self, m: Mutator) -> tuple[str, str, bytes, list[tuple[int, int]]]:
        """A template, the name of group 2, a text, and where its groups lie."""
        text = m.text(m.pick(_TEMPLATES) + m.pick(_TEMPLATES), _TEMPLATES, rounds=m.below(4))
        subject = b"0123456789"
        spans = [(0, 10)]
        for _ in range(m.below(4)):
            begin, end = m.span(len(subject))
            spans.append((begin, end) if m.chance(0.8) else (-1, -1))
        return _clean(text), m.pick(("port", "x", "1x", "²")), subject, spans

    def check(self, case: Any) -> bool:
        """The same text by both ways."""
        template, name, subject, spans = case
        groups = len(spans) - 1
        numbers = {name: 2} if groups >= 2 else {}
        found = expand(parse_template(template, numbers, groups), subject, spans)
        expected = _filled(template, numbers, subject, spans)
        require(found == expected, "filled differently", found, expected)
        return True


def _filled(
    template: str, numbers: dict[str, int], subject: bytes, spans: list[tuple[int, int]]
) -> bytes:
    out, position = b"", 0
    while position < len(template):
        char = template[position]
        position += 1
        if char != "$":
            out += char.encode()
            continue
        if template.startswith("$", position):
            out, position = out + b"$", position + 1
            continue
        braced = template.startswith("{", position)
        start = end = position + braced
        while end < len(template) and _is_word(template[end]):
            end += 1
        if end == start or (braced and not template.startswith("}", end)):
            out += b"$"
            continue
        name, position = template[start:end], end + braced
        number = int(name) if re.fullmatch("0|[1-9][0-9]{0,8}", name) else numbers.get(name, -1)
        if 0 <= number < len(spans) and spans[number][0] >= 0:
            out += subject[spans[number][0] : spans[number][1]]
    return out


def _is_word(char: str) -> bool:
    return char == "_" or char.isalpha() or char.isdecimal()
