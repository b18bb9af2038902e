"""Connections to the pipeline's Redis, source and sink, according to the settings.

What only one of them needs is imported when it is connected to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.config import PipelineSettings, Settings, TierName
from common.state.keys import Keys
from common.state.redis_client import connect_as_set

if TYPE_CHECKING:
    from redis import Redis

    from etlctl.verify.sink import Sink
    from etlctl.verify.source import Source


def redis_of(pipeline: PipelineSettings) -> tuple[Redis, Keys]:
    """A client (nothing is sent yet) and the key names of this pipeline."""
    return connect_as_set(pipeline), Keys(pipeline.redis_namespace)


def source_of(settings: Settings) -> Source:
    """Prometheus, with the credentials that the extractor uses."""
    from common.source.http_session import source_session
    from etlctl.verify.source import Source

    extract = settings.extract
    return Source(extract.prometheus_url, source_session(extract.auth), extract.timeout_seconds)


def sink_of(settings: Settings, tier: TierName) -> Sink:
    """InfluxDB, reached as the loader reaches it; a tier's database is named as its bucket."""
    from common.sink.http_session import SinkSession
    from etlctl.verify.sink import Sink

    session = SinkSession(settings.load.influxdb, connections=1)
    return Sink(session, settings.load.tiers[tier].bucket)
