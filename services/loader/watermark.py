"""The loaded watermark, kept in the sink: where to resume when Redis has lost everything.

Now and then the loader writes, for each feed, up to where everything is settled, as a point of
``etl_loaded_watermark`` beside the data. For a feed that Redis does not know, the loader copies the
sink's watermark to Redis, and the extractor plans from there. Until it has done so, the watermark
in the sink is not replaced.

A bucket may hold several pipelines, so a point names its own in the tag ``pipeline`` (the
namespace in Redis): to resume at another's watermark would leave a hole that nobody declared.
"""

from __future__ import annotations

import gzip
import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3
from redis.exceptions import RedisError

from common.config import InfluxSettings
from common.config.load import database_of
from common.errors import SinkError
from common.runtime.exchange import at_most
from common.runtime.telemetry import Telemetry
from common.sink.http_session import SinkSession
from common.sink.query_error import query_error
from common.sink.select import Select
from common.sink.sql import DatabaseNotFound, selected
from common.state.windows import FeedStatus, WindowSet
from services.loader.buckets.each import FailedBuckets
from services.loader.influx import InfluxSink
from services.loader.responses import Kind

MEASUREMENT = "etl_loaded_watermark"
_TEXT_MAX_CHARS = 4096


class WatermarkReader:
    """Reads the last watermark of a feed: by InfluxQL on ``/query``, as 1.x, 2.x and 3 serve it, or
    by SQL of InfluxDB 3.
    """

    def __init__(self, settings: InfluxSettings, pipeline: str) -> None:
        self.pipeline = pipeline
        self.url = f"{settings.url.rstrip('/')}/query"
        self._timeout_seconds = settings.timeout_seconds
        self._by_sql = settings.query_language == "sql"
        self._session = SinkSession(settings, connections=1)

    def read(self, bucket: str, query: str, tier: str) -> int | None:
        """The feed's watermark in ms, or ``None`` when the sink holds none of this pipeline.

        Raises :class:`SinkError` when the sink cannot be reached or its response is no watermark.
        """
        body = self.query(
            bucket,
            Select(("value",), MEASUREMENT, {"query": query, "tier": tier}, last_by=("pipeline",)),
        )
        return parse_watermark(body, self.url, self.pipeline)

    def query(self, bucket: str, select: Select) -> bytes:
        """What is asked, in the form of a response to InfluxQL, times in ms.

        Raises :class:`SinkError`.
        """
        if self._by_sql:
            return self._query_by_sql(bucket, select)
        try:
            with at_most(self._timeout_seconds):
                form = {**database_of(bucket), "q": select.influxql(), "epoch": "ms"}
                response = self._session.request("GET", "/query", list(form.items()))
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            raise SinkError(f"cannot read the watermark from {self.url}: {error}") from None
        body = response.data
        if response.status == 404 and b"query error: database not found" in body:
            return b'{"results": [{}]}'  # InfluxDB 3 makes a database with the first write to it
        if response.status != 200:
            raise SinkError(f"cannot read the watermark from {self.url}: status {response.status}")
        return body

    def _query_by_sql(self, bucket: str, select: Select) -> bytes:
        try:
            with at_most(self._timeout_seconds):
                rows = list(selected(self._session, bucket, select))
        except DatabaseNotFound:
            rows = []
        series = [
            {
                "tags": {tag: row[tag] or "" for tag in select.last_by},
                "values": [[row["time"], *map(row.get, select.columns)]],
            }
            for row in rows
        ]
        if series and not select.last_by:
            series = [{"values": [row for one in series for row in one["values"]]}]
        return json.dumps({"results": [{"series": series}]}).encode()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def parse_watermark(body: bytes, where: str, pipeline: str) -> int | None:
    """The watermark in a response of ``/query``; raises :class:`SinkError` for anything else.

    A point without a pipeline's name was written by an older version. It counts as ours where
    there is none with our name.
    """
    found: dict[str, float] = {}
    for series in series_of(body, where):
        try:
            name = str((series.get("tags") or {}).get("pipeline") or "")
            found[name] = float(series["values"][0][1])
        except (LookupError, ValueError, TypeError, ArithmeticError, AttributeError) as error:
            raise SinkError(f"{where} gave no InfluxQL response: {error!r}") from None
    value = found.get(pipeline, found.get(""))
    if value is None:
        return None
    if not 0 <= value < 1 << 53:
        raise SinkError(f"{where} holds the impossible watermark {value}")
    return int(value)


def series_of(body: bytes, where: str) -> list[dict[str, Any]]:
    """The series in a response of ``/query``; raises :class:`SinkError` for anything else."""
    try:
        result = json.loads(body)["results"][0]
        if "error" in result:
            raise SinkError(f"{where} says: {query_error(result['error'])}")
        return list(result.get("series") or ())
    except RecursionError:
        raise SinkError(f"{where} gave no InfluxQL response: too deeply nested") from None
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise SinkError(f"{where} gave no InfluxQL response: {error!r}") from None


@dataclass
class WatermarkKeeper:
    """Copies the watermarks to the sink, and back to a Redis that lost them.

    ``reads`` is the selector of each query by its name, empty for an ``expr``; ``run_id`` names the
    Redis that the pipeline's state lies in, ``shard`` which one of several it is. They are written
    along, for :class:`SharedBuckets`.
    ``after_turn`` is called after each turn; it raises what :meth:`turn` does.
    ``prove_readable`` raises :class:`SinkError` where a bucket only looks empty to us.
    """

    windows: WindowSet
    reader: WatermarkReader
    sink: InfluxSink
    buckets: Mapping[str, str]
    telemetry: Telemetry
    stop: threading.Event
    every_seconds: float
    reads: Mapping[str, str] = field(default_factory=dict)
    run_id: Callable[[], str] = lambda: ""
    shard: str = ""
    after_turn: Callable[[], None] = lambda: None
    prove_readable: Callable[[str], None] = lambda _bucket: None
    wall_clock: Callable[[], float] = time.time
    _written_ms: dict[str, int] = field(default_factory=dict, init=False)

    def run(self) -> None:
        """One turn after the other until stopped."""
        while not self.stop.wait(self.every_seconds):
            for step in (self.turn, self.after_turn):
                self._try(step)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (SinkError, RedisError) as error:
            # Nothing depends on one turn: the next one does what this one could not.
            self.telemetry.emit("watermark_failed", error=str(error))
        # A thread that ends of it would leave the watermark in the sink where it is.
        except Exception as error:
            self.telemetry.emit("watermark_failed", error=repr(error), exc_info=error)

    def turn(self) -> None:
        """Copy to Redis what it does not know, then to the sink what has changed.

        Raises :class:`SinkError`, once the other buckets have their own, or
        :class:`redis.exceptions.RedisError`.
        """
        failed = FailedBuckets()
        feeds = self.windows.status()
        known = self.windows.sink_watermarks()
        unknown = {
            name: feed
            for name, feed in feeds.items()
            if feed.tier in self.buckets and name not in known
        }
        for name, feed in unknown.items():
            bucket = self.buckets[feed.tier]
            if bucket not in failed:
                with failed.noting(bucket):
                    self._learn(name, feed, bucket)
        if unknown:
            # Read again: a watermark from before a feed was extended back must never be written.
            feeds = self.windows.status()
        changed = {
            name: feed
            for name, feed in feeds.items()
            if feed.reconciled and self._written_ms.get(name) != feed.loaded_watermark_ms
        }
        for tier in {feed.tier for feed in changed.values()} & self.buckets.keys():
            bucket = self.buckets[tier]
            if bucket not in failed:
                with failed.noting(bucket):
                    self._write(bucket, {n: f for n, f in changed.items() if f.tier == tier})
        failed.tell()

    def _learn(self, name: str, feed: FeedStatus, bucket: str) -> None:
        watermark_ms = self.reader.read(bucket, feed.query, feed.tier)
        if watermark_ms is None:
            # Taken for none, one that we may not read would be lost with the next write.
            self.prove_readable(bucket)
        self.windows.set_sink_watermark(name, watermark_ms)

    def _write(self, bucket: str, feeds: Mapping[str, FeedStatus]) -> None:
        now_ms = int(self.wall_clock() * 1000)
        run_id = self.run_id()
        shard = f",shard={_text(self.shard)}" if self.shard else ""
        lines = "".join(
            f"{MEASUREMENT},pipeline={self.reader.pipeline},query={feed.query},tier={feed.tier} "
            f"value={feed.loaded_watermark_ms}.0,reads={_text(self.reads.get(feed.query, ''))}"
            f",run={_text(run_id)}{shard} {now_ms}\n"
            for feed in feeds.values()
        )
        outcome = self.sink.write(bucket, gzip.compress(lines.encode(), 1, mtime=0))
        if outcome.kind is not Kind.WRITTEN:
            raise SinkError(f"the watermark was not written: {outcome.message}")
        self._written_ms |= {name: feed.loaded_watermark_ms for name, feed in feeds.items()}


def _text(value: str) -> str:
    """A string field; a selector too long to be compared is left out."""
    if len(value) > _TEXT_MAX_CHARS or not value.isprintable():
        value = ""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
