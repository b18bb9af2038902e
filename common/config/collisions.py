"""Which queries could write the same series: two of them would silently overwrite each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations

from common.config.query import Query
from common.config.transform import RelabelRule
from common.promql.selector import (
    NAME_LABEL,
    Selector,
    disjoint_label,
    metric_names,
    parse_selector,
)

# Metrics that Prometheus makes itself, so a selector by job contains some of them.
SYNTHETIC_NAMES = frozenset(
    (
        "up",
        "scrape_duration_seconds",
        "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling",
        "scrape_series_added",
        "scrape_timeout_seconds",
        "scrape_sample_limit",
        "scrape_body_size_bytes",
        "ALERTS",
        "ALERTS_FOR_STATE",
    )
)


def collisions(queries: Sequence[Query], labels: Collection[str] = ()) -> Iterator[tuple[int, str]]:
    """``(index of the later query, sentence)`` for each pair that may write the same series.

    ``labels``: names of those that each series gets in the place of its own.
    """
    metrics = SYNTHETIC_NAMES.union(
        *(metric_names(query.expr) for query in queries if query.expr is not None)
    )
    selectors = {
        index: _without(parse_selector(query.select), labels)
        for index, query in enumerate(queries)
        if query.select is not None
    }
    for (left, one), (right, other) in combinations(selectors.items(), 2):
        if disjoint_label(one, other) is None:
            yield (
                right,
                (
                    f"{queries[right].name} may select the same series as {queries[left].name} "
                    f"(queries[{left}]): give them matchers that exclude each other"
                ),
            )
    for expr_index, query in enumerate(queries):
        for select_index, selector in selectors.items():
            if query.expr is not None and _may_contain(selector, query.name, metrics):
                yield (
                    max(expr_index, select_index),
                    (
                        f"the expr {query.name} would be written to the measurement of the metric "
                        f"{query.name}, which the select {queries[select_index].name} may "
                        "contain: rename the expr"
                    ),
                )


def _without(selector: Selector, labels: Collection[str]) -> Selector:
    """The selector of all that is the same series where those labels are the same."""
    return Selector(tuple(one for one in selector.matchers if one.label not in labels))


def _may_contain(selector: Selector, name: str, metrics: frozenset[str]) -> bool:
    if not selector.names_can_be(name):
        return False
    return selector.pins_names or name in metrics


def relabelled_collisions(queries: Sequence[Query], rules: Sequence[RelabelRule]) -> Iterator[str]:
    """A sentence for each pair of selectors that differ only in a label that a rule changes."""
    selectors = [
        (query.name, parse_selector(query.select)) for query in queries if query.select is not None
    ]
    for (left, one), (right, other) in combinations(selectors, 2):
        label = disjoint_label(one, other)
        if label is not None and any(_may_change(rule, label) for rule in rules):
            yield (
                f"queries {left} and {right} differ only in the label {label}, which "
                "transform.relabel may change: make sure that their series stay different"
            )


def _may_change(rule: RelabelRule, label: str) -> bool:
    if rule.action in ("replace", "hashmod", "lowercase", "uppercase"):
        return rule.target_label == label or "$" in (rule.target_label or "")
    if rule.action in ("labeldrop", "labelkeep"):
        return label != NAME_LABEL
    return rule.action == "labelmap"
