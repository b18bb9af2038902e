"""Which series of the sink a query alone can have written.

A point in the sink that no query expects is an error only if the pipeline must have put it there:
other writers may share the bucket. The rule errs on the side of leaving a series alone:

* a series must have ``extract.labels``, and the labels that relabelling sets to constants: several
  pipelines tell their series apart so;
* an ``expr`` owns what is held at its place;
* a ``select`` owns a series if Prometheus knows (or knew) a metric of that name that matches the
  selector, and the series' tags satisfy the selector's other matchers;
* where relabelling or ``extract.labels`` may write a label that the selector matches, or the name,
  tags prove nothing: such a ``select`` owns only what the source has.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.config import Query, RelabelRule
from common.promql.constant_labels import constant_labels
from common.promql.selector import (
    BUCKET_LABEL,
    CLASSIC_LABEL,
    CLASSIC_SUFFIXES,
    NAME_LABEL,
    Selector,
)
from common.samples.layout import Layout, Place, any_bound
from common.samples.line_names import map_key, map_value, original
from common.samples.series import SeriesDrop
from services.verifier.expect import Identify
from services.verifier.points import SeriesKey

Owns = Callable[[SeriesKey], bool]

NAME_DROPS = frozenset({SeriesDrop.NOT_WHITELISTED.value, SeriesDrop.NAME_CONFLICT.value})
_ANY_LABEL_ACTIONS = frozenset({"labelmap", "labeldrop", "labelkeep"})


@dataclass(frozen=True)
class PossiblePlaces:
    """Where a query can write to, told from the configuration alone."""

    query: Query
    layout: Layout

    def __contains__(self, place: object) -> bool:
        names = list(self.layout.names(place)) if isinstance(place, Place) else []
        if self.query.kind == "expr":
            return any(name in self.query.names for name in names)
        return any(map(self.query.may_write, names))


def owner(query: Query, places: Container[Place], rules: Sequence[RelabelRule]) -> Owns:
    """Whether a series of the sink could be this query's.

    ``places`` are those that the query can write to: see :func:`places_of`, or
    :class:`PossiblePlaces` where its source is not asked.
    """
    constants = constant_tags(rules, query.labels)

    def may_write(series: SeriesKey) -> bool:
        tags = dict(series.tags)
        is_there = series.place in places or any_bound(series.place) in places
        return is_there and all(tags.get(key, "") == value for key, value in constants.items())

    if query.kind == "expr":
        return may_write
    selector = query.extracted
    if _rewritten(selector, rules, query.labels):
        return lambda series: False

    def owns(series: SeriesKey) -> bool:
        tags = dict(series.tags)
        if any_bound(series.place) != series.place:
            tags.setdefault(BUCKET_LABEL, series.field)
        return may_write(series) and all(
            matcher.matches(original(tags.get(map_key(matcher.label), "")))
            for matcher in selector.matchers
            if matcher.label != NAME_LABEL
        )

    return owns


def places_of(
    query: Query,
    identify: Identify,
    metric_names: Callable[[str], Iterable[str]],
    rules: Sequence[RelabelRule],
    layout: Layout,
) -> frozenset[Place]:
    """Where a query writes to, whatever it finds in the range.

    ``metric_names`` lists the metrics that match a selector, as far as Prometheus keeps them.
    """
    # Only what the name alone decides counts: a rule may refuse a probe for its lack of labels.
    if query.kind == "expr":
        probes = {query.metric + suffix: {CLASSIC_LABEL: suffix} for suffix in query.suffixes}
        named = [name for name, probe in probes.items() if identify(probe) not in NAME_DROPS]
        return frozenset(place for name in named for place in layout.places(name))
    names: Iterable[str] = ()
    if not _rewritten(query.extracted, rules, query.labels):
        names = metric_names(query.text)
        if query.carries_histograms:
            names = [name + suffix for name in names for suffix in ("", *CLASSIC_SUFFIXES)]
    named = [name for name in names if identify({NAME_LABEL: name}) not in NAME_DROPS]
    return frozenset(place for name in named for place in layout.places(name))


def constant_tags(rules: Sequence[RelabelRule], added: Mapping[str, str]) -> dict[str, str]:
    """What labels and relabelling make of every series' tags; empty: none has that tag."""
    # Labels that begin with "__" are none of the series any more.
    return {
        map_key(label): map_value(value)
        for label, value in constant_labels(rules, added).items()
        if label[:2] != "__"
    }


def _rewritten(selector: Selector, rules: Sequence[RelabelRule], added: Iterable[str] = ()) -> bool:
    matched = {matcher.label for matcher in selector.matchers} | {NAME_LABEL}
    return not matched.isdisjoint(added) or any(
        rule.action in _ANY_LABEL_ACTIONS
        or (rule.target_label or "") in matched
        or "$" in (rule.target_label or "")
        for rule in rules
        if rule.action not in ("keep", "drop", "keepequal", "dropequal")
    )
