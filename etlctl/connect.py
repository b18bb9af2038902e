"""Connections to the pipeline's Redis, source and sink, according to the settings.

What only one of them needs is imported when it is connected to.
"""

from __future__ import annotations

import os
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
    from etlctl.verify.source import Source
    from services.extractor.http_session import source_session

    extract = settings.extract
    return Source(extract.prometheus_url, source_session(extract.auth), extract.timeout_seconds)


def sink_of(settings: Settings, tier: TierName) -> Sink:
    """InfluxDB, with the loader's token; the database of a tier is named as its bucket."""
    import requests

    from etlctl.verify.sink import Sink
    from services.loader.http_session import SinkSession, proxy_of

    influxdb = settings.load.influxdb
    session = requests.Session()
    # Without any requests would look for credentials in a .netrc file.
    session.auth = lambda request: request
    if influxdb.ca_file:
        session.verify = influxdb.ca_file
    if influxdb.cert_file:
        key = influxdb.key_file
        session.cert = (influxdb.cert_file, key) if key else influxdb.cert_file
    if influxdb.ca_file or influxdb.proxy_url:
        # Else requests would let REQUESTS_CA_BUNDLE and https_proxy take their place.
        session.trust_env = False
    if proxy := proxy_of(influxdb, os.environ):
        session.proxies = dict.fromkeys(("http", "https"), proxy.with_credentials)
    session.headers.update(SinkSession(influxdb, connections=1).headers)
    return Sink(
        influxdb.url,
        settings.load.tiers[tier].bucket,
        session,
        timeout_seconds=influxdb.timeout_seconds,
    )
