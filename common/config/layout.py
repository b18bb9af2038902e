"""Settings of the layout of lines: what becomes the measurement, the field and the field's type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Literal

from pydantic import Field

from common.config.fields import CheckedSection, Problem
from common.config.query import RESERVED_NAMES
from common.samples.layout import NAME, Layout
from common.samples.line_names import FIELD, map_field, map_measurement

Preset = Literal["telegraf_v2"]
_PRESETS: dict[Preset, Layout] = {"telegraf_v2": Layout("prometheus", NAME)}
_VARIABLE = re.compile(r"\$(?:\{[^}]*\}?)?")


class LayoutSettings(CheckedSection):
    """Where a line holds the metric's name, and which values are integers."""

    preset: Preset | None = Field(
        None,
        description="Layout of another program, instead of `measurement` and `field`: "
        "`telegraf_v2` is that of Telegraf's `metric_version = 2` (measurement `prometheus`, field "
        "`${__name__}`).",
    )
    measurement: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="The measurement; `${__name__}` stands for the name of the metric, or of the "
        "query for an `expr`. None = `${__name__}`.",
    )
    field: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="The name of the field; the same. None = `value`. A rollup's fields are the "
        "aggregates, or for another field than `value` its name, `_` and the aggregate.",
    )
    integer_metrics: tuple[str, ...] = Field(
        (),
        description="Metrics whose samples are written as integers, exact names or globs. A value "
        "that is no whole number within ±2^53 is dead-lettered as `not_an_integer`. Rollups are "
        "floats.",
    )

    @property
    def layout(self) -> Layout:
        """The templates that are in force."""
        if self.preset is not None:
            return _PRESETS[self.preset]
        return Layout(self.measurement or NAME, self.field or FIELD)

    def _problems(self) -> Iterator[Problem]:
        given = {"measurement": self.measurement, "field": self.field}
        if self.preset is not None:
            for key in (key for key, text in given.items() if text is not None):
                yield Problem((key,), f"is given beside preset {self.preset}: keep one of them")
            return
        broken = False
        for key, held in (("measurement", map_measurement), ("field", map_field)):
            for text in _template_problems(given[key] or NAME, held):
                broken = True
                yield Problem((key,), text)
        layout = self.layout
        if not broken and NAME not in layout.measurement + layout.field:
            yield Problem(
                ("measurement",),
                f"is {layout.measurement}, and the field is {layout.field}: two metrics with the "
                f"same labels would be one point; write {NAME} into one of them",
            )
        if layout.measurement in RESERVED_NAMES:
            yield Problem(("measurement",), f"is {layout.measurement}, which the loader writes to")
        for index, name in enumerate(self.integer_metrics):
            if not name.strip():
                yield Problem(("integer_metrics", index), "must not be blank")


def _template_problems(template: str, held: Callable[[str], str]) -> Iterator[str]:
    if others := [found for found in _VARIABLE.findall(template) if found != NAME]:
        yield (
            f"has {others[0]}: only {NAME} can stand here, as two series that differ in a label "
            "alone could be one point; transform.relabel can write a label into the name"
        )
    elif template.count(NAME) > 1:
        yield f"has {NAME} twice: once is enough"
    elif held(one := template.replace(NAME, "m")) != one:
        yield f"is {template!r}, which InfluxDB does not hold as it is written: choose another text"
