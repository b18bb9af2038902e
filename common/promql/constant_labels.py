"""Labels that every series has once it was relabelled, whatever it had before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from common.promql.relabel import Rule, compile_rules

_FILTERS = frozenset(("keep", "drop", "keepequal", "dropequal"))
_BY_NAME = frozenset(("labeldrop", "labelkeep"))
# Match any text, as Prometheus' default does.
_ANY = frozenset(("(.*)", ".*"))
# Half of a surrogate pair is no label's value. No rule reads it: it stands only in a target.
_UNKNOWN = "\ud800"


def constant_labels(
    rules: Iterable[Rule], given: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """By name, the value that each series has after ``rules``; empty: no series has the label.

    ``given``: what all of them have before. A label that is not named may have any value, or none.
    Raises :class:`~common.errors.ConfigError` for a rule that cannot work.
    """
    known = dict(given)
    for rule in rules:
        if rule.action in _FILTERS:
            continue
        target = rule.target_label or ""
        if rule.action == "labelmap" or "$" in target:
            known.clear()  # may write any label
        elif rule.action in _BY_NAME:
            known = {
                name: _applied(rule, {name: text}).get(name, "") for name, text in known.items()
            }
        elif known.keys() >= set(rule.source_labels):
            # What it does depends on nothing else, but for what stands in the target already.
            before = known if target in known else known | {target: _UNKNOWN}
            value = _applied(rule, before).get(target, "")
            known.pop(target, None)
            if value != _UNKNOWN:
                known[target] = value
        elif rule.action == "replace" and rule.regex in _ANY and "$" not in rule.replacement:
            known[target] = rule.replacement
        else:
            known.pop(target, None)
    return known


def _applied(rule: Rule, labels: dict[str, str]) -> dict[str, str]:
    changed = {name: value for name, value in labels.items() if value}
    compile_rules([rule])(changed)
    return changed
