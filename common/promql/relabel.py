"""Prometheus' relabelling of one label set.

Semantics: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config
and, where that is silent, ``model/relabel/relabel.go`` of Prometheus 3: regexes are RE2, anchored
at both ends, with ``.`` matching line breaks; any text that is not empty is a label name; an empty
value deletes the label; a ``replace`` whose target is empty after expansion does nothing.

RE2 matches in time linear in the text, so that no pattern can hang a service.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from common.errors import ConfigError
from common.promql.relabel_template import expand, parse_template

T = TypeVar("T")
# Changes the labels in place; False means that the series is dropped.
Step = Callable[[dict[str, str]], bool]
_Action = Callable[["Labels"], bool]

_SHORT_CHARS = 200
# Matches one byte in the C++ library, where it could tear a character apart; Go does not have it.
_ANY_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")


class Labels(dict[str, str]):
    """Labels in the order that Prometheus' builder gives them in, which labelmap depends on.

    Those that the series came with are sorted by name; those that a rule has set follow in the
    order in which they were first set.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        super().__init__(sorted(labels.items()))
        self._was_set: set[str] = set()

    def put(self, name: str, value: str) -> None:
        """Set a label, or remove it where ``value`` is empty."""
        if not value:
            self.remove(name)
            return
        if name not in self._was_set:
            self.pop(name, None)
            self._was_set.add(name)
        self[name] = value

    def remove(self, name: str) -> None:
        """Remove a label, if it is there."""
        self.pop(name, None)
        self._was_set.discard(name)


class Rule(Protocol):
    """One relabel_config, as :class:`common.config.RelabelRule` holds it."""

    @property
    def source_labels(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def separator(self) -> str: ...  # noqa: D102
    @property
    def regex(self) -> str: ...  # noqa: D102
    @property
    def target_label(self) -> str | None: ...  # noqa: D102
    @property
    def replacement(self) -> str: ...  # noqa: D102
    @property
    def modulus(self) -> int | None: ...  # noqa: D102
    @property
    def action(self) -> str: ...  # noqa: D102


def compile_rules(rules: Iterable[Rule], where: str = "transform.relabel") -> Step:
    """All rules as one step; :class:`common.config.RelabelRule` has already checked their shape.

    Raises :class:`ConfigError` with one line for each rule that cannot work, naming ``where``, the
    rule's index and the field.
    """
    steps: list[_Action] = []
    problems: list[str] = []
    for index, rule in enumerate(rules):
        try:
            steps.append(_compile(rule))
        except ConfigError as error:
            problems.extend(f"{where}[{index}].{problem}" for problem in error.problems)
    if problems:
        raise ConfigError(*problems)
    if not steps:
        return lambda labels: True

    def relabel(labels: dict[str, str]) -> bool:
        changed = Labels(labels)
        kept = all(step(changed) for step in steps)
        if "" not in labels:
            # What labelmap made under no name is seen by later rules, and is no label at the end.
            changed.remove("")
        labels.clear()
        labels.update(changed)
        return kept

    return relabel


def _compile(rule: Rule) -> _Action:
    maker = _MAKERS.get(rule.action)
    if maker is None:
        raise ConfigError(f"action: {rule.action!r:.60} is not one of {', '.join(_MAKERS)}")
    for field in ("regex", "separator", "replacement", "target_label"):
        _check_text(field, getattr(rule, field))
    _regex(rule)  # As in Prometheus, also where the action has no use for it.
    return maker(rule)


def _check_text(field: str, text: str | None) -> None:
    # Half of a surrogate pair: it would be met again by every series.
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{field}: {text!r:.200} is not UTF-8 text") from None


# -- what the actions share ---------------------------------------------------------------------


def _regex(rule: Rule, *, captures: bool = False) -> Any:
    import re2  # where there is a rule: 2 MiB

    if _ANY_BYTE.search(rule.regex):
        raise ConfigError(f"regex: {rule.regex!r:.200} is not valid in RE2: invalid escape: \\C")
    options = re2.Options()
    options.log_errors = False  # else the library writes them to stderr
    options.never_capture = not captures
    try:
        return re2.compile(f"^(?s:{rule.regex})$", options)
    except re2.error as error:
        reason = error.args[0] if error.args else "invalid"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ConfigError(f"regex: {rule.regex!r:.200} is not valid in RE2: {text}") from None


def _target(rule: Rule) -> str:
    if not rule.target_label:
        raise ConfigError(f"target_label: is needed for action {rule.action}")
    return rule.target_label


def _joined(rule: Rule) -> Callable[[Labels], str]:
    """The values of the source labels, joined; a missing label counts as empty."""
    if len(rule.source_labels) == 1:
        only = rule.source_labels[0]
        return lambda labels: labels.get(only, "")
    sources, separator = tuple(rule.source_labels), rule.separator
    return lambda labels: separator.join([labels.get(source, "") for source in sources])


def _remembered(function: Callable[[str], T]) -> Callable[[str], T]:
    """Remember what short texts lead to: label names and most values come again and again."""
    known = lru_cache(maxsize=4096)(function)
    return lambda text: known(text) if len(text) <= _SHORT_CHARS else function(text)


def _matcher(rule: Rule) -> Callable[[str], bool]:
    regex = _regex(rule)
    return _remembered(lambda text: regex.fullmatch(text.encode()) is not None)


def _expander(rule: Rule, *templates: str) -> Callable[[str], tuple[bytes, ...] | None]:
    """What a text makes of templates; None when it does not match."""
    regex = _regex(rule, captures=True)
    groups = regex.groups
    parsed = [parse_template(text, regex.groupindex, groups) for text in templates]

    def expand_all(text: str) -> tuple[bytes, ...] | None:
        encoded = text.encode()
        match = regex.fullmatch(encoded)
        if match is None:
            return None
        spans = [match.span(group) for group in range(groups + 1)]
        return tuple(expand(template, encoded, spans) for template in parsed)

    return _remembered(expand_all)


# -- the actions --------------------------------------------------------------------------------


def _replace(rule: Rule) -> _Action:
    joined, expanded = _joined(rule), _expander(rule, _target(rule), rule.replacement)

    def step(labels: Labels) -> bool:
        if found := expanded(joined(labels)):
            name, value = found
            if name:
                labels.put(name.decode(), value.decode())
        return True

    return step


def _keep(rule: Rule) -> _Action:
    joined, matches = _joined(rule), _matcher(rule)
    return lambda labels: matches(joined(labels))


def _drop(rule: Rule) -> _Action:
    joined, matches = _joined(rule), _matcher(rule)
    return lambda labels: not matches(joined(labels))


def _keep_equal(rule: Rule) -> _Action:
    joined, target = _joined(rule), _target(rule)
    return lambda labels: labels.get(target, "") == joined(labels)


def _drop_equal(rule: Rule) -> _Action:
    joined, target = _joined(rule), _target(rule)
    return lambda labels: labels.get(target, "") != joined(labels)


def _hash_mod(rule: Rule) -> _Action:
    joined, target, modulus = _joined(rule), _target(rule), rule.modulus
    if not modulus or modulus < 0:
        raise ConfigError("modulus: must be a positive number for action hashmod")

    def step(labels: Labels) -> bool:
        digest = hashlib.md5(joined(labels).encode(), usedforsecurity=False).digest()
        labels.put(target, str(int.from_bytes(digest[8:], "big") % modulus))
        return True

    return step


def _label_map(rule: Rule) -> _Action:
    expanded = _expander(rule, rule.replacement)

    def step(labels: Labels) -> bool:
        for name, value in list(labels.items()):
            if found := expanded(name):
                labels.put(found[0].decode(), value)
        return True

    return step


def _label_drop(rule: Rule) -> _Action:
    matches = _matcher(rule)
    return lambda labels: _remove(labels, [name for name in labels if matches(name)])


def _label_keep(rule: Rule) -> _Action:
    matches = _matcher(rule)
    return lambda labels: _remove(labels, [name for name in labels if not matches(name)])


def _remove(labels: Labels, names: Sequence[str]) -> bool:
    for name in names:
        labels.remove(name)
    return True


def _change_case(
    rule: Rule, ascii_case: Callable[[str], str], rune: Callable[[str], str]
) -> _Action:
    joined, target = _joined(rule), _target(rule)

    def step(labels: Labels) -> bool:
        value = joined(labels)
        changed = ascii_case(value) if value.isascii() else "".join(map(rune, value))
        labels.put(target, changed)
        return True

    return step


def _lower_rune(rune: str) -> str:
    """Unicode's simple (one to one) mapping, which Go uses; Python's may give several letters."""
    return rune.lower()[0]  # only U+0130 has several: i and a dot


def _upper_rune(rune: str) -> str:
    # Where the full mapping has several letters, the simple one is the title case or the rune.
    for candidate in (rune.upper(), rune.title()):
        if len(candidate) == 1:
            return candidate
    return rune


_MAKERS: dict[str, Callable[[Rule], _Action]] = {
    "replace": _replace,
    "keep": _keep,
    "drop": _drop,
    "keepequal": _keep_equal,
    "dropequal": _drop_equal,
    "hashmod": _hash_mod,
    "labelmap": _label_map,
    "labeldrop": _label_drop,
    "labelkeep": _label_keep,
    "lowercase": lambda rule: _change_case(rule, str.lower, _lower_rune),
    "uppercase": lambda rule: _change_case(rule, str.upper, _upper_rune),
}
