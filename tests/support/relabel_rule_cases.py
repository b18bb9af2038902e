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
    ({"source_labels": [""], "target_label": "c"}, ".source_labels[0]", "must not be empty"),
    ({"source_labels": "a", "target_label": "c"}, ".source_labels", "must be a list"),
    ({"source_labels": ["a"], "regex": "a(", "action": "keep"}, ".regex", "not valid in RE2"),
    ({"source_labels": ["a"], "regex": "(?=a)", "action": "keep"}, ".regex", "not valid in RE2"),
    ({"source_labels": ["a"], "action": "explode"}, ".action", "must be 'replace', 'keep'"),
    ({"regex": "a", "replacement": "", "action": "labelmap"}, ".replacement", "must not be empty"),
    *(
        (
            {"source_labels": ["a"], "target_label": "b", "regex": "(", "action": action, **more},
            ".regex",
            "not valid in RE2",
        )
        for action, more in (("lowercase", {}), ("uppercase", {}), ("hashmod", {"modulus": 2}))
    ),
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

# Accepted by Prometheus 3, where any text is a label name; version 2 refuses most of them.
ACCEPTED_SINCE_3: list[dict[str, Any]] = [
    {"source_labels": ["a"], "target_label": "b-c"},
    {"source_labels": ["a"], "target_label": "1b"},
    {"source_labels": ["a-b", "größe", "a b"], "target_label": "c"},
    {"source_labels": ["a"], "target_label": "größe.$1"},
    {"source_labels": ["a"], "target_label": "${"},
    {"regex": "a", "replacement": "a-b", "action": "labelmap"},
    {"regex": "(.*)", "replacement": "größe/$1", "action": "labelmap"},
    *(
        {"source_labels": ["a"], "target_label": "$1", "action": action}
        for action in ("lowercase", "uppercase", "keepequal", "dropequal")
    ),
]
