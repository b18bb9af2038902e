"""The loaded watermark, kept in the sink: where to resume when Redis has lost everything.

Now and then the loader writes, for each feed, up to where everything is settled, as a point of
``etl_loaded_watermark`` beside the data. For a feed that Redis does not know, the loader copies the
sink's watermark to Redis, and the extractor plans from there. Until it has done so, the watermark
in the sink is not replaced.
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3
from redis.exceptions import RedisError

from common.config import InfluxSettings
from common.errors import SinkError
from common.runtime.telemetry import Telemetry
from common.state.windows import FeedStatus, WindowSet
from services.loader.influx import InfluxSink
from services.loader.responses import Kind

MEASUREMENT = "etl_loaded_watermark"
_RESPONSE_BYTES_MAX = 1 << 20


class WatermarkReader:
    """Reads the last watermark of a feed by InfluxQL on ``/query``, as 1.x, 2.x and 3 serve it."""

    def __init__(self, settings: InfluxSettings, pool: urllib3.PoolManager | None = None) -> None:
        token = settings.token.get_secret_value()
        self._url = f"{settings.url.rstrip('/')}/query"
        self._headers = {"Authorization": f"Token {token}"} if token else {}
        self._timeout_seconds = settings.timeout_seconds
        tls: dict[str, Any] = {"ca_certs": settings.ca_file} if settings.ca_file else {}
        self._pool = pool or urllib3.PoolManager(retries=False, **tls)

    def read(self, bucket: str, query: str, tier: str) -> int | None:
        """The feed's watermark in ms, or ``None`` when the sink holds none.

        Raises :class:`SinkError` when the sink cannot be reached or its response is no watermark.
        """
        statement = (
            f'SELECT last("value") FROM "{MEASUREMENT}" '
            f"WHERE \"query\" = '{query}' AND \"tier\" = '{tier}'"
        )
        try:
            response = self._pool.request(
                "GET",
                self._url,
                fields={"db": bucket, "q": statement, "epoch": "ms"},
                headers=self._headers,
                timeout=self._timeout_seconds,
                preload_content=False,
            )
            body = response.read(_RESPONSE_BYTES_MAX, decode_content=True)
            response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise SinkError(f"cannot read the watermark from {self._url}: {error}") from None
        if response.status != 200:
            raise SinkError(f"cannot read the watermark from {self._url}: status {response.status}")
        return parse_watermark(body, self._url)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


def parse_watermark(body: bytes, where: str) -> int | None:
    """The watermark in a response of ``/query``; raises :class:`SinkError` for anything else."""
    try:
        result = json.loads(body)["results"][0]
        if "error" in result:
            raise SinkError(f"{where} says: {result['error']}")
        series = result.get("series")
        if not series:
            return None
        value = float(series[0]["values"][0][1])
    except RecursionError:
        raise SinkError(f"{where} gave no InfluxQL response: too deeply nested") from None
    except (LookupError, ValueError, TypeError, ArithmeticError, AttributeError) as error:
        raise SinkError(f"{where} gave no InfluxQL response: {error!r}") from None
    if not 0 <= value < 1 << 53:
        raise SinkError(f"{where} holds the impossible watermark {value}")
    return int(value)


@dataclass
class WatermarkKeeper:
    """Copies the watermarks to the sink, and back to a Redis that lost them."""

    windows: WindowSet
    reader: WatermarkReader
    sink: InfluxSink
    buckets: Mapping[str, str]
    telemetry: Telemetry
    stop: threading.Event
    every_seconds: float
    wall_clock: Callable[[], float] = time.time
    _written_ms: dict[str, int] = field(default_factory=dict, init=False)

    def run(self) -> None:
        """One turn after the other until stopped."""
        while not self.stop.wait(self.every_seconds):
            try:
                self.turn()
            except (SinkError, RedisError) as error:
                # Nothing depends on one turn: the next one does what this one could not.
                self.telemetry.emit("watermark_failed", error=str(error))

    def turn(self) -> None:
        """Copy to Redis what it does not know, then to the sink what has changed.

        Raises :class:`SinkError` or :class:`redis.exceptions.RedisError`.
        """
        feeds = self.windows.status()
        known = self.windows.sink_watermarks()
        for name, feed in feeds.items():
            bucket = self.buckets.get(feed.tier)
            if bucket is not None and name not in known:
                watermark_ms = self.reader.read(bucket, feed.query, feed.tier)
                self.windows.set_sink_watermark(name, watermark_ms)
        # Read again: a watermark from before a feed was extended back must never be written.
        changed = {
            name: feed
            for name, feed in self.windows.status().items()
            if feed.reconciled and self._written_ms.get(name) != feed.loaded_watermark_ms
        }
        for tier in {feed.tier for feed in changed.values()} & self.buckets.keys():
            self._write(
                self.buckets[tier], {n: feed for n, feed in changed.items() if feed.tier == tier}
            )

    def _write(self, bucket: str, feeds: Mapping[str, FeedStatus]) -> None:
        now_ms = int(self.wall_clock() * 1000)
        lines = "".join(
            f"{MEASUREMENT},query={feed.query},tier={feed.tier} "
            f"value={feed.loaded_watermark_ms}.0 {now_ms}\n"
            for feed in feeds.values()
        )
        outcome = self.sink.write(bucket, gzip.compress(lines.encode(), 1, mtime=0))
        if outcome.kind is not Kind.WRITTEN:
            raise SinkError(f"the watermark was not written: {outcome.message}")
        self._written_ms |= {name: feed.loaded_watermark_ms for name, feed in feeds.items()}
