"""Settings of the transform: the whitelist, and relabelling in Prometheus' own syntax.

What makes a relabel_config valid is Prometheus 3's own (``Config.Validate`` in
``model/relabel/relabel.go``): any text that is not empty is a label name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from common.config.fields import CheckedSection, Count, Problem, Seconds, Unit

Action = Literal[
    "replace",
    "keep",
    "drop",
    "keepequal",
    "dropequal",
    "hashmod",
    "labelmap",
    "labeldrop",
    "labelkeep",
    "lowercase",
    "uppercase",
]

_NEEDS_TARGET = {"replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal"}
_ONLY_REGEX = {"labeldrop", "labelkeep"}
_EQUAL = {"keepequal", "dropequal"}


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _not_empty(value: Any) -> Any:
    # As in Prometheus, an empty name is none.
    return None if value == "" else value


class RelabelRule(CheckedSection):
    """One step of relabelling, as in Prometheus' relabel_config."""

    source_labels: tuple[str, ...] = Field(
        (), description="Labels whose values are joined and matched."
    )
    separator: str = Field(";", description="What stands between the joined values.")
    regex: str = Field("(.*)", description="RE2 expression, anchored at both ends.")
    target_label: Annotated[str | None, BeforeValidator(_not_empty)] = Field(
        None, description="Label that the result is written to."
    )
    replacement: str = Field(
        "$1", description="What is written; `$1` and `${name}` stand for groups of the regex."
    )
    modulus: Count | None = Field(None, ge=1, lt=2**64, description="Modulus of `hashmod`.")
    action: Annotated[Action, BeforeValidator(_lower)] = Field(
        "replace", description="What is done with the match."
    )

    def _problems(self) -> Iterator[Problem]:
        action, target = self.action, self.target_label
        given = {key for key in self.model_fields_set if getattr(self, key) != _DEFAULTS[key]}
        for index, label in enumerate(self.source_labels):
            if not label:
                yield Problem(("source_labels", index), "must not be empty")
        if action in _NEEDS_TARGET and target is None:
            yield Problem((), f"has action {action}, which needs target_label")
        if action == "hashmod" and self.modulus is None:
            yield Problem((), "has action hashmod, which needs modulus")
        if action == "labelmap" and not self.replacement:
            yield Problem(("replacement",), "must not be empty: it names the label")
        if action in ("lowercase", "uppercase") and "replacement" in given:
            yield Problem(("replacement",), f"has no meaning for action {action}")
        if action in _ONLY_REGEX:
            for key in sorted(given - {"regex", "action"}):
                yield Problem((key,), f"has no meaning for action {action}, which takes only regex")
        if action in _EQUAL:
            for key in sorted(given - {"source_labels", "target_label", "action"}):
                yield Problem(
                    (key,),
                    f"has no meaning for action {action}, which takes only source_labels "
                    "and target_label",
                )


# The keys of a rule whose scalars Prometheus takes as they are written; so are source labels.
RULE_TEXTS = frozenset(("separator", "regex", "target_label", "replacement"))
_DEFAULTS = {name: field.default for name, field in RelabelRule.model_fields.items()}


class TransformSettings(CheckedSection):
    """What is kept of the samples, and under which labels."""

    valid_metrics: tuple[str, ...] = Field(
        (), description="Measurements that are kept, exact names or globs; empty = all."
    )
    relabel: tuple[RelabelRule, ...] = Field(
        (), description="Relabelling, in Prometheus' relabel_config syntax, applied in order."
    )
    max_future_seconds: Seconds = Field(
        600, ge=0, description="How far ahead of now a sample's timestamp may lie."
    )
    cache_series: Annotated[Count, Unit("series")] = Field(
        100_000,
        ge=1,
        description="Series whose relabelled form is remembered; fewer, where labels and key of "
        "one take more than 1,000 bytes.",
    )

    def _problems(self) -> Iterator[Problem]:
        for index, name in enumerate(self.valid_metrics):
            if not name.strip():
                yield Problem(("valid_metrics", index), "must not be blank")
