"""Which type a field of a bucket must have to take our points."""

from __future__ import annotations

from common.config import Settings
from common.samples.layout import Place
from etlctl.doctor.influxdb import types_of


def test_types_that_a_layout_wants() -> None:
    """Of places that ours can hold, and of the aggregates that a tier holds, alone."""
    layout = {"preset": "telegraf_v2", "integer_metrics": ["*_total"]}
    warm = {"bucket": "w", "resolution": "1m", "aggregates": ["avg"]}
    influxdb = {"url": "http://i", "org": "o", "bucket": "b"}
    settings = Settings.model_validate(
        {
            "extract": {"prometheus_url": "http://p", "queries": [{"name": "a", "select": "up"}]},
            "load": {"influxdb": influxdb, "tiers": {"warm": warm}, "layout": layout},
        }
    )
    hot, rolled = types_of(settings, "hot"), types_of(settings, "warm")
    assert hot("prometheus", "a_total") == (Place("prometheus", "a_total"), "integer")
    assert hot("prometheus", "up") == (Place("prometheus", "up"), "float")
    assert hot("cpu", "usage_idle") is None
    assert rolled("prometheus", "a_total_avg") == (Place("prometheus", "a_total"), "float")
    assert rolled("prometheus", "a_total_max") is None
