"""Which type a field of a bucket must have to take our points."""

from __future__ import annotations

from common.config import Settings
from common.samples.layout import Place
from etlctl.doctor.influxdb import types_of


def settings_of(layout: dict[str, object]) -> Settings:
    warm = {"bucket": "w", "resolution": "1m", "aggregates": ["avg"]}
    influxdb = {"url": "http://i", "org": "o", "bucket": "b"}
    return Settings.model_validate(
        {
            "extract": {"prometheus_url": "http://p", "queries": [{"name": "a", "select": "up"}]},
            "load": {"influxdb": influxdb, "tiers": {"warm": warm}, "layout": layout},
        }
    )


def test_types_that_a_layout_wants() -> None:
    """Of places that ours can hold, and of the aggregates that a tier holds, alone."""
    settings = settings_of({"preset": "telegraf_v2", "integer_metrics": ["*_total"]})
    hot, rolled = types_of(settings, "hot"), types_of(settings, "warm")
    assert hot("prometheus", "a_total") == (Place("prometheus", "a_total"), "integer")
    assert hot("prometheus", "up") == (Place("prometheus", "up"), "float")
    assert hot("cpu", "usage_idle") is None
    assert rolled("prometheus", "a_total_avg") == (Place("prometheus", "a_total"), "float")
    assert rolled("prometheus", "a_total_max") is None


def test_of_one_table_the_field_of_all_metrics() -> None:
    settings = settings_of({"measurement": "all", "name_tag": True})
    hot, rolled = types_of(settings, "hot"), types_of(settings, "warm")
    assert hot("all", "value") == (Place("all"), "float")
    assert hot("all", "other") is None
    assert hot("up", "value") is None
    assert rolled("all", "avg") == (Place("all"), "float")
