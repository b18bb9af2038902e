"""``load.layout``: what is read of it, and what is refused, in one sentence each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from common.config import Settings, effective, load_settings
from common.errors import ConfigError
from common.samples.layout import DEFAULT_LAYOUT, Layout


def settings(folder: Path, layout: dict[str, Any] | None) -> Settings:
    load: dict[str, Any] = {"influxdb": {"url": "http://i", "org": "o", "bucket": "b"}}
    if layout is not None:
        load["layout"] = layout
    file = folder / "etl.yaml"
    document = {"extract": {"prometheus_url": "http://p"}, "load": load}
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return load_settings(file, {})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, DEFAULT_LAYOUT),
        ({}, DEFAULT_LAYOUT),
        ({"integer_metrics": ["*_total"]}, DEFAULT_LAYOUT),
        ({"preset": "telegraf_v2"}, Layout("prometheus", "${__name__}")),
        ({"measurement": "all", "field": "${__name__}"}, Layout("all", "${__name__}")),
        ({"measurement": "p_${__name__}_x"}, Layout("p_${__name__}_x", "value")),
        ({"field": "gauge"}, Layout("${__name__}", "gauge")),
        ({"measurement": "all", "name_tag": True}, Layout("all", "value", "__name__")),
        ({"histograms": "fields"}, Layout(histograms="fields")),
        (
            {"histograms": "fields", "measurement": "p_${__name__}", "field": "value"},
            Layout("p_${__name__}", histograms="fields"),
        ),
    ],
)
def test_what_is_read(tmp_path: Path, given: dict[str, Any] | None, expected: Layout) -> None:
    found = settings(tmp_path, given)
    assert found.load.layout.layout == expected
    # What is shown of it can be read as a configuration again.
    again = {
        key: value for key, value in effective(found)["load"]["layout"].items() if value is not None
    }
    assert settings(tmp_path, again).load.layout.layout == expected


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"measurement": "all"}, "load.layout.measurement: is all, and the field is value: two"),
        ({"measurement": "${job}"}, "load.layout.measurement: has ${job}: only ${__name__} can"),
        ({"field": "x$"}, "load.layout.field: has $: only ${__name__} can"),
        ({"field": "${__name__}${__name__}"}, "load.layout.field: has ${__name__} twice"),
        ({"measurement": "_x", "field": "${__name__}"}, "load.layout.measurement: is '_x', which"),
        ({"field": "time"}, "load.layout.field: is 'time', which InfluxDB does not hold"),
        (
            {"measurement": "etl_seal", "field": "${__name__}"},
            "load.layout.measurement: is etl_seal, which the loader writes to",
        ),
        (
            {"preset": "telegraf_v2", "field": "x"},
            "load.layout.field: is given beside preset telegraf_v2: keep one of them",
        ),
        ({"preset": "telegraf_v3"}, "load.layout.preset: "),
        (
            {"name_tag": True},
            "load.layout.name_tag: is given beside ${__name__} in the",
        ),
        (
            {"preset": "telegraf_v2", "name_tag": True},
            "load.layout.name_tag: is given beside preset telegraf_v2",
        ),
        (
            {"measurement": "all", "name_tag": True, "integer_metrics": ["a"]},
            "load.layout.integer_metrics: cannot stand beside name_tag: all metrics share a field",
        ),
        *(
            (
                {"histograms": "fields", **more},
                "load.layout.histograms: is fields, which needs ${__name__} in the measurement",
            )
            for more in (
                {"preset": "telegraf_v2"},
                {"measurement": "all", "name_tag": True},
                {"field": "gauge"},
                {"field": "${__name__}"},
            )
        ),
        ({"histograms": "columns"}, "load.layout.histograms: "),
        ({"integer_metrics": [" "]}, "load.layout.integer_metrics[0]: must not be blank"),
    ],
)
def test_what_is_refused(tmp_path: Path, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, given)
    (said,) = caught.value.problems
    assert problem in said
