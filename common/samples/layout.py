"""Where the sink holds a series: ``load.layout``, as templates of measurement and field.

A layout keeps different series different: the name of the metric is in the measurement, in the name
of the field or in a tag of its own, whole and once, so that it can be told from what is held.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

from common.samples.line_names import FIELD, map_field, map_measurement, map_value, original

NAME = "${__name__}"
# The tag that holds the name under some layouts; no label becomes it, as mapping puts something in
# front of what begins so.
NAME_TAG = "__name__"
# What mapping may put in front of a name.
_MAPPED_PREFIX = "metric_"
# The fields of a histogram that is one series: its count, its sum, and one for each bound.
_COUNTED = {"_count": "count", "_sum": "sum"}
_BUCKET = "_bucket"
_BOUND = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|Inf)")
# In the place of the field of a bound: that of any.
ANY_BOUND = "${le}"


class Place(NamedTuple):
    """Where a series is held besides its labels; ``name``: what :data:`NAME_TAG` holds. Mapped."""

    measurement: str
    field: str = FIELD
    name: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """The templates, one of which has :data:`NAME`; or ``name_tag`` is :data:`NAME_TAG`.

    ``histograms``: not empty if the series of classic histograms are fields of one. Their names and
    ``le`` alone decide, so that each field tells the name: a metric that happens to be called
    ``x_count`` is the field ``count`` of ``x``, which nothing else is.
    """

    measurement: str = NAME
    field: str = FIELD
    name_tag: str = ""
    _: KW_ONLY
    histograms: str = ""

    @property
    def table(self) -> Place:
        """Where all metrics are held, where a tag has their names."""
        return Place(self.measurement, self.field)

    def bound(self, name: str, labels: Mapping[str, str]) -> str:
        """That of a bucket, where a field has its name instead of the label ``le``; else empty."""
        if not self.histograms or not name.endswith(_BUCKET) or name == _BUCKET:
            return ""
        bound = labels.get("le", "")
        return bound if _BOUND.fullmatch(bound) else ""

    def texts(self, name: str, bound: str = "") -> tuple[str, str]:
        """Measurement and field of a metric, not yet mapped."""
        field = self.field
        if self.histograms:
            for suffix, counted in {**_COUNTED, _BUCKET: bound}.items():
                whole = name.removesuffix(suffix)
                if counted and whole and whole != name:
                    name, field = whole, counted
                    break
        return self.measurement.replace(NAME, name), field.replace(NAME, name)

    def places(self, name: str) -> Iterator[Place]:
        """All where the series of a metric can be held; :data:`ANY_BOUND` stands for any."""
        yield self.place(name)
        if self.bound(name, {"le": "0"}):
            yield any_bound(self.place(name, "0"))

    def place(self, name: str, bound: str = "") -> Place:
        """Where the series of a metric are held."""
        measurement, field = self.texts(name, bound)
        tagged = map_value(name) if self.name_tag else ""
        return Place(map_measurement(measurement), map_field(field), tagged)

    def may_hold(self, place: Place) -> bool:
        """Whether a metric can be held at a place, whatever its name."""
        return (
            _fits(self.measurement, place.measurement)
            and (_fits(self.field, place.field) or bool(self.histograms and _suffix(place.field)))
            and bool(place.name) == bool(self.name_tag)
        )

    def lacks_bound(self, place: Place) -> bool:
        """Whether only buckets that no histogram has are held at a place: those without a bound."""
        return any(
            self.bound(name, {"le": "0"}) and place == self.place(name)
            for name in self.names(place)
        )

    def names(self, place: Place) -> Iterator[str]:
        """The metrics that are held at a place: one, or none."""
        template, text, suffix = self.field, place.field, ""
        if self.histograms and text != self.field:
            suffix = _suffix(text)
        bound = text if suffix == _BUCKET else ""
        if self.name_tag:
            template, text = NAME, place.name
        elif NAME in self.measurement:
            template, text = self.measurement, place.measurement
        before, _, after = template.partition(NAME)
        for found in (text, text.removeprefix(_MAPPED_PREFIX)):
            if found.startswith(before) and found.endswith(after):
                name = original(found[len(before) : len(found) - len(after)])
                if name and self.place(name + suffix, bound) == place:
                    yield name + suffix
                    return


def any_bound(place: Place) -> Place:
    """The place, or if it is that of a bound, the one that stands for those of all."""
    return place._replace(field=ANY_BOUND) if _BOUND.fullmatch(place.field) else place


def is_of_histogram(field: str) -> bool:
    """Whether a histogram that is one series has a field of that name."""
    return bool(_suffix(field))


def _suffix(field: str) -> str:
    """What the name ends in of which a histogram's field is; empty for other fields."""
    if _BOUND.fullmatch(field):
        return _BUCKET
    return next((suffix for suffix, counted in _COUNTED.items() if counted == field), "")


def _fits(template: str, text: str) -> bool:
    before, name, after = template.partition(NAME)
    if not name:
        return text == template
    return text.removeprefix(_MAPPED_PREFIX).startswith(before) and text.endswith(after)


DEFAULT_LAYOUT = Layout()
