"""Which series of the sink a query wrote, told from the configuration and the tags alone.

A series is a query's if a label set that the query selects can have become it. Where relabelling
(or ``extract.labels``) writes a label that the query matches, the series' tags do not tell what
that label was. Such a query is given every series that it can have written; that is the right set
if no other query can
have written any of their measurements, and otherwise it may be too large.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import re2

from common.config import Query, RelabelRule
from common.config.query import RESERVED_NAMES
from common.promql.selector import BUCKET_LABEL, NAME_LABEL, Selector
from common.samples.layout import DEFAULT_LAYOUT, Layout, Place
from common.samples.line_names import map_key, map_value, original
from services.verifier.expect import Identify
from services.verifier.ownership import NAME_DROPS, constant_tags
from services.verifier.points import SeriesKey

_FILTERS = frozenset({"keep", "drop", "keepequal", "dropequal"})


@dataclass(frozen=True, slots=True)
class Candidates:
    """The series that a query can have written.

    ``tags``: what all of them have; empty: what none has. ``certain``: no other query can have
    written one of the ``places`` where the tags do not tell.
    """

    places: frozenset[Place]
    selector: Selector | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    rewritten: frozenset[str] = frozenset()
    certain: bool = True

    def owns(self, series: SeriesKey) -> bool:
        """Whether the series is one of them."""
        tags = dict(series.tags)
        return (
            series.place in self.places
            and all(tags.get(tag, "") == value for tag, value in self.tags.items())
            and all(
                matcher.matches(original(tags.get(map_key(matcher.label), "")))
                for matcher in (self.selector.matchers if self.selector else ())
                if matcher.label != NAME_LABEL
                and matcher.label not in self.rewritten
                and not (matcher.operator == "=" and matcher.value)  # it is one of the tags
            )
        )


def candidates(
    queries: Sequence[tuple[Query, Identify]],
    present: Iterable[Place],
    rules: Sequence[RelabelRule],
    layout: Layout = DEFAULT_LAYOUT,
) -> dict[str, Candidates]:
    """By name of the query, for all that are configured; ``present``: where the sink holds series.

    ``queries`` come with the transform of each.
    """
    known = frozenset(place for place in present if place.measurement not in RESERVED_NAMES)
    named = {place: name for place in known for name in layout.names(place)}
    written = {
        query.name: frozenset(place for place, name in named.items() if name in query.names)
        for query, _ in queries
        if query.kind == "expr"
    }
    expressions = frozenset[Place]().union(*written.values())
    loose = {
        query.name: (
            Candidates(written[query.name], tags=constant_tags(rules, query.labels))
            if query.kind == "expr"
            else _selected(query, identify, known - expressions, rules, layout)
        )
        for query, identify in queries
    }
    return {
        name: Candidates(
            one.places,
            one.selector,
            one.tags,
            one.rewritten,
            certain=not one.rewritten
            or not any(
                one.places & other.places
                for other_name, other in loose.items()
                if other_name != name
            ),
        )
        for name, one in loose.items()
    }


def _selected(
    query: Query,
    identify: Identify,
    known: frozenset[Place],
    rules: Sequence[RelabelRule],
    layout: Layout,
) -> Candidates:
    selector = query.extracted
    matched = {matcher.label for matcher in selector.matchers} | {NAME_LABEL}
    rewritten = frozenset(
        label
        for label in matched
        if label in query.labels
        or _writes(rules, label)
        or (label == BUCKET_LABEL and layout.histograms)
    )
    places = frozenset(filter(layout.may_hold, known))
    if NAME_LABEL not in rewritten:
        # A rule may refuse the probe for its lack of labels; only what the name decides counts.
        places = frozenset(
            place
            for place in known
            for name in layout.names(place)
            if query.may_write(name) and identify({NAME_LABEL: name}) not in NAME_DROPS
        )
    equal = {
        map_key(matcher.label): map_value(matcher.value)
        for matcher in selector.matchers
        if matcher.operator == "=" and matcher.value
        if matcher.label not in rewritten | {NAME_LABEL}
    }
    tags = {**equal, **constant_tags(rules, query.labels)}
    return Candidates(places, selector, tags, rewritten)


def _writes(rules: Sequence[RelabelRule], label: str) -> bool:
    """Whether a rule can change the label of a series that it does not drop."""
    return any(
        bool(re2.fullmatch(rule.regex, label)) == (rule.action == "labeldrop")
        if rule.action in ("labeldrop", "labelkeep")
        else rule.action == "labelmap"
        or rule.target_label == label
        or "$" in (rule.target_label or "")
        for rule in rules
        if rule.action not in _FILTERS
    )
