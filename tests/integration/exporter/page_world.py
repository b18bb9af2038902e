"""A pipeline in Redis that runs and is ready, for tests of the status page."""

from __future__ import annotations

import redis

from common.state.keys import Keys
from common.state.status.findings import SERVICES
from common.state.workers import Workers
from tests.integration.exporter.exporter_world import populate

PASSWORD = "open sesame"


def report(client: redis.Redis, keys: Keys, rate: float = 100.0) -> None:
    """Each service runs and is ready."""
    for service in SERVICES:
        figures = {
            "etl_current_rate_records_per_second": rate,
            "etl_avg_processing_time_seconds": 0.02,
            "etl_sink_post_duration_seconds_sum": 3.0,
            "etl_sink_post_duration_seconds_count": 12.0,
            "etl_dead_letters_max": 1000.0,
        }
        Workers(client, keys).report(f"{service}-1", service, True, {}, figures)


def running_pipeline(client: redis.Redis, keys: Keys) -> None:
    """What ``populate`` makes, with workers, planned just now."""
    populate(client, keys)
    seconds, _ = client.time()
    for feed in ("q@hot", "r@warm"):
        client.hset(keys.feed(feed), "planned_ms", int(seconds) * 1000)
    report(client, keys)
