"""Connections to source and sink, as extractor and loader reach them."""

from __future__ import annotations

from collections.abc import Callable

from common.config import Settings, TierName
from common.sink.http_session import SinkSession
from common.source.http_session import source_session
from services.verifier.replicas import ReplicatedSource
from services.verifier.sink.partitioned import PartitionedSink
from services.verifier.sink.read import Sink
from services.verifier.source import ChunkReading, Source


def source_of(
    settings: Settings,
    chunks: ChunkReading | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Source:
    """Prometheus, with the credentials that the extractor uses; its replicas, if it has some.

    ``chunks``: that remote read may be used, where the extractor may, too; never of replicas.
    ``tick``: as of :class:`~services.verifier.source.Source`.
    """
    extract = settings.extract
    # Remote read knows no parameters: it would answer as if there were none.
    if extract.remote_read == "off" or extract.params:
        chunks = None
    first, *others = [
        (one.prometheus_url, source_session(one), one.timeout_seconds)
        for one in extract.each_replica
    ]
    if not others:
        return Source(*first, chunks, tick)
    return ReplicatedSource(first, [Source(*other, tick=tick) for other in others], tick)


def sink_of(settings: Settings, tier: TierName) -> Sink:
    """InfluxDB, reached as the loader reaches it; a tier's database is named as its bucket."""
    session = SinkSession(settings.load.influxdb, connections=1)
    bucket, *others = settings.load.buckets_of(tier)
    if not others or (bucket_from := settings.load.bucket_from) is None:
        return Sink(session, bucket)
    return PartitionedSink(session, bucket, others, bucket_from.of_key.of_tags)
