"""Connections to source and sink, as extractor and loader reach them."""

from __future__ import annotations

from common.config import Settings, TierName
from common.sink.http_session import SinkSession
from common.source.http_session import source_session
from services.verifier.replicas import ReplicatedSource
from services.verifier.sink import Sink
from services.verifier.source import Source


def source_of(settings: Settings) -> Source:
    """Prometheus, with the credentials that the extractor uses; its replicas, if it has some."""
    first, *others = [
        (one.prometheus_url, source_session(one), one.timeout_seconds)
        for one in settings.extract.each_replica
    ]
    if not others:
        return Source(*first)
    return ReplicatedSource(first, [Source(*other) for other in others])


def sink_of(settings: Settings, tier: TierName) -> Sink:
    """InfluxDB, reached as the loader reaches it; a tier's database is named as its bucket."""
    session = SinkSession(settings.load.influxdb, connections=1)
    return Sink(session, settings.load.tiers[tier].bucket)
