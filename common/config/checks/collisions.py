"""Which queries and sources could write the same series, and silently overwrite each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations

from common.config.extract import ExtractSettings
from common.config.fields import Problem
from common.config.query import Query
from common.config.source import SourceSettings
from common.config.transform import RelabelRule
from common.errors import ConfigError
from common.promql.constant_labels import constant_labels
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


def collisions(
    queries: Sequence[Query], labels: Collection[str] = (), sources: Collection[str] = ()
) -> Iterator[tuple[int, str]]:
    """``(index of the later query, sentence)`` for each pair that may write the same series.

    ``labels``: names of those that each series gets in the place of its own. ``sources``: only what
    is read from one of them counts; none: there is only one.
    """

    def is_read(query: Query) -> bool:
        return not sources or any(map(query.reads, sources))

    metrics = SYNTHETIC_NAMES.union(
        *(metric_names(one.expr) for one in queries if one.expr is not None and is_read(one))
    )
    selectors = {
        index: _without(query.extracted, labels)
        for index, query in enumerate(queries)
        if query.select is not None and is_read(query)
    }
    for (left, one), (right, other) in combinations(selectors.items(), 2):
        if disjoint_label(one, other) is None:
            both = queries[left], queries[right]
            yield (
                right,
                (
                    f"{queries[right].name} may select the same series as {queries[left].name} "
                    f"(queries[{left}]): {_way_out(*both, labels)}"
                ),
            )
    expressions = {
        index: query
        for index, query in enumerate(queries)
        if query.expr is not None and is_read(query)
    }
    for (left, first), (right, second) in combinations(expressions.items(), 2):
        shared = set(first.names).intersection(second.names)
        if shared and first.name != second.name:
            yield (
                right,
                (
                    f"the expr {second.name} and the expr {first.name} (queries[{left}]) would "
                    f"both write {min(shared)}, because of native_histograms: rename one of them"
                ),
            )
    for expr_index, query in expressions.items():
        for select_index in selectors:
            select = queries[select_index]
            if name := next((n for n in query.names if _may_contain(select, n, metrics)), None):
                yield (
                    max(expr_index, select_index),
                    (
                        f"the expr {query.name} would be written to the measurement of the metric "
                        f"{name}, which the select {select.name} may contain: rename the expr"
                    ),
                )


def _way_out(one: Query, other: Query, labels: Collection[str]) -> str:
    plain = [_without(parse_selector(query.text), labels) for query in (one, other)]
    if disjoint_label(*plain) is None:
        return "give them matchers that exclude each other"
    return (
        "native_histograms: classic also writes NAME_bucket, NAME_count and NAME_sum of what is "
        "selected: list the names, or tell them apart by another label than le"
    )


def _without(selector: Selector, labels: Collection[str]) -> Selector:
    """The selector of all that is the same series where those labels are the same."""
    return Selector(tuple(one for one in selector.matchers if one.label not in labels))


def _may_contain(query: Query, name: str, metrics: frozenset[str]) -> bool:
    return query.may_write(name) and (parse_selector(query.text).pins_names or name in metrics)


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


def source_problems(extract: ExtractSettings, rules: Sequence[RelabelRule]) -> Iterator[Problem]:
    """What several sources would write to the same series, and which of them is read by nothing."""
    queries, told = extract.queries, set[tuple[int, str]]()
    for index, source in enumerate(extract.sources):
        told.update(collisions(queries, source.labels, (source.name,)))
        if not any(query.reads(source.name) for query in queries):
            yield Problem(("extract", "sources", index), f"{source.name} is read by no query")
    for (_, one), (index, other) in combinations(enumerate(extract.sources), 2):
        if _told_apart(one, other, rules):
            continue
        names = one.name, other.name
        both = [query.name for query in queries if all(map(query.reads, names))]
        if both:
            yield Problem(
                ("extract", "sources", index, "labels"),
                f"{one.name} and {other.name} would write the same series of query {both[0]}: give "
                "each a value of its own for a label that relabelling keeps, such as "
                f"{{site: {other.name}}}",
            )
        else:
            labels = one.labels.keys() | other.labels.keys()
            told.update(collisions(queries, labels, names))
    for index, text in sorted(told):
        yield Problem(("extract", "queries", index), text)


def _told_apart(one: SourceSettings, other: SourceSettings, rules: Sequence[RelabelRule]) -> bool:
    """Whether a label of all series of one has another value in all series of the other."""
    try:
        found = [constant_labels(rules, source.labels) for source in (one, other)]
    except ConfigError:
        return True  # the rule is told of by itself
    mine, others = found
    return any(
        mine[label] != others[label] for label in mine.keys() & others.keys() if label[:2] != "__"
    )
