"""A relabelling rule as the tests write it, and what rules make of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.promql.relabel import compile_rules


@dataclass(frozen=True)
class Rule:
    source_labels: tuple[str, ...] = ()
    separator: str = ";"
    regex: str = "(.*)"
    target_label: str | None = None
    replacement: str = "$1"
    modulus: int | None = None
    action: str = "replace"


def rule(source: str = "", **fields: Any) -> Rule:
    return Rule(source_labels=tuple(source.split()), **fields)


def relabel(labels: dict[str, str], *rules: Rule) -> dict[str, str] | None:
    relabelled = dict(labels)
    return relabelled if compile_rules(rules)(relabelled) else None


ABC = {"a": "foo", "b": "bar", "c": "baz"}
LINES = {"a": "line1\nline2"}
