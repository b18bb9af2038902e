"""Whether the loader would find that it can read what it writes: its check ``sink_read``."""

from __future__ import annotations

from contextlib import closing

from common.config import Settings
from common.errors import SinkError
from services.loader.influx import InfluxSink
from services.loader.read_check import ReadCheck
from services.loader.watermark import WatermarkReader
from tests.doubles.loading import Clock


def is_readable(settings: Settings, clock: Clock) -> bool:
    """Ask the sink, at the case's time."""
    influxdb = settings.load.influxdb
    check = ReadCheck(
        WatermarkReader(influxdb, settings.pipeline.redis_namespace),
        InfluxSink(influxdb, connections=1),
        [tier.bucket for tier in settings.load.tiers.values()],
        pause=clock.pass_,
        wall_clock=clock,
        clock=clock,
    )
    with closing(check):
        try:
            check()
        except SinkError:
            return False
    return True
