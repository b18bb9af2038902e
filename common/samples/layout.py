"""Where the sink holds a series: ``load.layout``, as templates of measurement and field.

A layout keeps different series different: the name of the metric is in the measurement, in the name
of the field or in a tag of its own, whole and once, so that it can be told from what is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from common.samples.line_names import FIELD, map_field, map_measurement, map_value

NAME = "${__name__}"
# The tag that holds the name under some layouts; no label becomes it, as mapping puts something in
# front of what begins so.
NAME_TAG = "__name__"
# What mapping may put in front of a name.
_MAPPED_PREFIX = "metric_"


class Place(NamedTuple):
    """Where a series is held besides its labels; ``name``: what :data:`NAME_TAG` holds. Mapped."""

    measurement: str
    field: str = FIELD
    name: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """The templates, one of which has :data:`NAME`; or ``name_tag`` is :data:`NAME_TAG`."""

    measurement: str = NAME
    field: str = FIELD
    name_tag: str = ""

    @property
    def table(self) -> Place:
        """Where all metrics are held, where a tag has their names."""
        return Place(self.measurement, self.field)

    def texts(self, name: str) -> tuple[str, str]:
        """Measurement and field of a metric, not yet mapped."""
        return self.measurement.replace(NAME, name), self.field.replace(NAME, name)

    def place(self, name: str) -> Place:
        """Where the series of a metric are held."""
        measurement, field = self.texts(name)
        tagged = map_value(name) if self.name_tag else ""
        return Place(map_measurement(measurement), map_field(field), tagged)

    def may_hold(self, place: Place) -> bool:
        """Whether a metric can be held at a place, whatever its name."""
        return (
            _fits(self.measurement, place.measurement)
            and _fits(self.field, place.field)
            and bool(place.name) == bool(self.name_tag)
        )

    def names(self, place: Place) -> Iterator[str]:
        """The metrics that are held at a place: one, or none."""
        template, text = self.field, place.field
        if self.name_tag:
            template, text = NAME, place.name
        elif NAME in self.measurement:
            template, text = self.measurement, place.measurement
        before, _, after = template.partition(NAME)
        for found in (text, text.removeprefix(_MAPPED_PREFIX)):
            if found.startswith(before) and found.endswith(after):
                name = found[len(before) : len(found) - len(after)]
                if name and self.place(name) == place:
                    yield name
                    return


def _fits(template: str, text: str) -> bool:
    before, name, after = template.partition(NAME)
    if not name:
        return text == template
    return text.removeprefix(_MAPPED_PREFIX).startswith(before) and text.endswith(after)


DEFAULT_LAYOUT = Layout()
