"""Where the sink holds a series: ``load.layout``, as templates of measurement and field.

A layout keeps different series different: the name of the metric is in the measurement or in the
name of the field, whole and once, so that both can be told from what is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from common.samples.line_names import FIELD, map_field, map_measurement

NAME = "${__name__}"
# What mapping may put in front of a name.
_MAPPED_PREFIX = "metric_"


class Place(NamedTuple):
    """Where a series is held besides its tags, both mapped."""

    measurement: str
    field: str = FIELD


@dataclass(frozen=True, slots=True)
class Layout:
    """The templates; one of them has :data:`NAME`."""

    measurement: str = NAME
    field: str = FIELD

    def texts(self, name: str) -> tuple[str, str]:
        """Measurement and field of a metric, not yet mapped."""
        return self.measurement.replace(NAME, name), self.field.replace(NAME, name)

    def place(self, name: str) -> Place:
        """Where the series of a metric are held."""
        measurement, field = self.texts(name)
        return Place(map_measurement(measurement), map_field(field))

    def may_hold(self, place: Place) -> bool:
        """Whether a metric can be held at a place, whatever its name."""
        return _fits(self.measurement, place.measurement) and _fits(self.field, place.field)

    def names(self, place: Place) -> Iterator[str]:
        """The metrics that are held at a place: one, or none."""
        template, text = self.field, place.field
        if NAME in self.measurement:
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
