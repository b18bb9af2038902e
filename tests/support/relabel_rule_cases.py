"""Relabel rules that Prometheus accepts and refuses; checked by our models and by promtool."""

from __future__ import annotations

from typing import Any

ACCEPTED: list[dict[str, Any]] = [
    {"source_labels": ["a", "b"], "target_label": "c"},
    {"source_labels": ["a"], "regex": "(.*):.*", "replacement": "${1}", "target_label": "c"},
    {"source_labels": ["a"], "target_label": "x_$1_${2}", "regex": "(a)(b)"},
    {"source_labels": ["a"], "target_label": "__name__", "action": "Replace"},
    {"target_label": "c", "replacement": ""},
    {"source_labels": ["__name__"], "regex": "go_.*", "action": "drop"},
    {"source_labels": ["a"], "regex": "b", "action": "keep"},
    {"action": "drop"},
    {"source_labels": ["a"], "target_label": "b", "action": "keepequal"},
    {"source_labels": ["a"], "target_label": "b", "action": "dropequal"},
    {"source_labels": ["a"], "target_label": "b", "modulus": 8, "action": "hashmod"},
    {"regex": "meta_(.+)", "action": "labelmap"},
    {"regex": "meta_(.+)", "replacement": "m_${1}", "action": "labelmap"},
    {"regex": "pod|node", "action": "labeldrop"},
    {"regex": "__name__|job", "action": "labelkeep"},
    {"source_labels": ["a"], "target_label": "a", "action": "lowercase"},
    {"source_labels": ["a"], "target_label": "a", "action": "uppercase"},
    {"source_labels": ["a"], "regex": "(?i)\\p{Greek}", "action": "keep"},
]

# (rule, which of its keys is named, what is said)
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"source_labels": ["a"]}, "", "has action replace, which needs target_label"),
    ({"source_labels": ["a"], "action": "lowercase"}, "", "which needs target_label"),
    ({"source_labels": ["a"], "action": "keepequal"}, "", "which needs target_label"),
    ({"source_labels": ["a"], "modulus": 2, "action": "hashmod"}, "", "which needs target_label"),
    ({"source_labels": ["a"], "target_label": "b", "action": "hashmod"}, "", "needs modulus"),
    (
        {"source_labels": ["a"], "target_label": "b", "modulus": 0, "action": "hashmod"},
        ".modulus",
        "must be greater than or equal to 1",
    ),
    ({"source_labels": ["a"], "target_label": "b-c"}, ".target_label", "is not a label name"),
    ({"source_labels": ["a"], "target_label": "1b"}, ".target_label", "is not a label name"),
    ({"source_labels": ["a-b"], "target_label": "c"}, ".source_labels[0]", "is not a label name"),
    ({"source_labels": "a", "target_label": "c"}, ".source_labels", "must be a list"),
    ({"source_labels": ["a"], "regex": "a(", "action": "keep"}, ".regex", "not valid in RE2"),
    ({"source_labels": ["a"], "regex": "(?=a)", "action": "keep"}, ".regex", "not valid in RE2"),
    ({"source_labels": ["a"], "action": "explode"}, ".action", "must be 'replace', 'keep'"),
    ({"regex": "a", "replacement": "a-b", "action": "labelmap"}, ".replacement", "is not a label"),
    (
        {"regex": "a", "source_labels": ["b"], "action": "labeldrop"},
        ".source_labels",
        "has no meaning for action labeldrop, which takes only regex",
    ),
    ({"regex": "a", "target_label": "b", "action": "labelkeep"}, ".target_label", "only regex"),
    ({"regex": "a", "separator": ",", "action": "labelkeep"}, ".separator", "only regex"),
    ({"regex": "a", "modulus": 3, "action": "labelkeep"}, ".modulus", "only regex"),
    (
        {"source_labels": ["a"], "target_label": "b", "regex": "c", "action": "keepequal"},
        ".regex",
        "which takes only source_labels and target_label",
    ),
    (
        {"source_labels": ["a"], "target_label": "b", "separator": ",", "action": "dropequal"},
        ".separator",
        "which takes only source_labels and target_label",
    ),
    (
        {"source_labels": ["a"], "target_label": "b", "replacement": "c", "action": "uppercase"},
        ".replacement",
        "has no meaning for action uppercase",
    ),
    ({"regex": "a", "action": "labeldrop", "extra": 1}, ".extra", "is an unknown key"),
]

# Refused by Prometheus 3; version 2 accepts them, and then takes "$1" for the label's name.
REFUSED_SINCE_3: list[tuple[dict[str, Any], str, str]] = [
    (
        {"source_labels": ["a"], "target_label": "$1", "action": action},
        ".target_label",
        "is not a label name",
    )
    for action in ("lowercase", "uppercase", "keepequal", "dropequal")
]
