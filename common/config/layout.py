"""Settings of the layout of lines: what becomes the measurement, the field and the field's type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Literal

from pydantic import Field

from common.config.fields import CheckedSection, Problem
from common.config.query import RESERVED_NAMES
from common.samples.layout import NAME, NAME_TAG, Layout
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
    name_tag: bool = Field(
        False,
        description="The name stands in the tag `__name__`, and in neither of both: one table for "
        "all metrics, as InfluxDB 3 wants it where there are more than a thousand.",
    )
    histograms: Literal["series", "fields"] = Field(
        "series",
        description="How classic histograms are held, those that `native_histograms` makes too: "
        "`series` as Prometheus has them, `fields` as Telegraf's `metric_version = 1` does: "
        "NAME_count, NAME_sum and NAME_bucket are fields of the measurement NAME, `count`, `sum` "
        "and the bounds.",
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
        tag = NAME_TAG if self.name_tag else ""
        histograms = self.histograms if self.histograms == "fields" else ""
        return Layout(self.measurement or NAME, self.field or FIELD, tag, histograms=histograms)

    def _problems(self) -> Iterator[Problem]:
        given = {"measurement": self.measurement, "field": self.field}
        whole = NAME in (self.measurement or NAME) and self.field in (None, FIELD)
        if self.histograms == "fields" and (self.preset or self.name_tag or not whole):
            yield Problem(
                ("histograms",),
                f"is fields, which needs {NAME} in the measurement alone, and no other field than "
                f"{FIELD}",
            )
        if self.preset is not None:
            for key in (key for key, text in given.items() if text is not None):
                yield Problem((key,), f"is given beside preset {self.preset}: keep one of them")
            if self.name_tag:
                yield Problem(("name_tag",), f"is given beside preset {self.preset}")
            return
        broken = False
        for key, held in (("measurement", map_measurement), ("field", map_field)):
            for text in _template_problems(given[key] or NAME, held):
                broken = True
                yield Problem((key,), text)
        layout = self.layout
        named = NAME in layout.measurement + layout.field
        if self.name_tag and named and not broken:
            yield Problem(
                ("name_tag",),
                f"is given beside {NAME} in the measurement or the field: give a measurement, such "
                "as prometheus, and the name once",
            )
        if self.name_tag and self.integer_metrics:
            yield Problem(
                ("integer_metrics",),
                "cannot stand beside name_tag: all metrics share a field, which holds one type",
            )
        if not (broken or named or self.name_tag):
            yield Problem(
                ("measurement",),
                f"is {layout.measurement}, and the field is {layout.field}: two metrics with the "
                f"same labels would be one point; write {NAME} into one of them, or name_tag: true",
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
