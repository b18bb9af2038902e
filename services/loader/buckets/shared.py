"""Whether a bucket of ours also holds another pipeline, whose series could be the same as ours.

Two pipelines that write the same series overwrite each other's points without a word of the sink.
The watermarks tell: each names its pipeline, the selector that it reads by, and the state of Redis
that it was written from.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from common.errors import ConfigError, SinkError
from common.promql.selector import disjoint_label, parse_selector
from common.runtime.telemetry import Telemetry
from common.sink.select import Select
from common.state.fields import text_of
from common.state.keys import Keys
from services.loader.buckets.each import FailedBuckets
from services.loader.watermark import MEASUREMENT, WatermarkReader, series_of

# A pipeline that wrote none for so long has gone.
ACTIVE_SECONDS = 86_400.0
CHECK_EVERY_SECONDS = 3600.0
AFTER_FAILURE_SECONDS = 60.0


@dataclass
class SharedBuckets:
    """Looks now and then, and reports each pipeline once for each bucket.

    ``reads`` is the selector of each of our queries by its name, empty for an ``expr``. With a
    ``shard``, those of our name with another shard write other queries.
    """

    reader: WatermarkReader
    buckets: Iterable[str]
    reads: Mapping[str, str]
    telemetry: Telemetry
    run_id: Callable[[], str]
    shard: str = ""
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    _check_at: float = field(default=float("-inf"), init=False)
    _reported: set[tuple[str, str]] = field(default_factory=set, init=False)

    def check(self) -> None:
        """Report what is shared, if it is time to look.

        Raises :class:`SinkError` or :class:`redis.exceptions.RedisError`.
        """
        if self.clock() < self._check_at:
            return
        self._check_at = self.clock() + AFTER_FAILURE_SECONDS
        shared, failed = 0, FailedBuckets()
        for bucket in dict.fromkeys(self.buckets):
            others: dict[str, set[str]] = {}
            with failed.noting(bucket):
                others = self._others(bucket)
            shared += bool(others)
            for pipeline, queries in others.items():
                if (bucket, pipeline) not in self._reported:
                    self._reported.add((bucket, pipeline))
                    self.telemetry.emit(
                        "bucket_shared", bucket=bucket, pipeline=pipeline, queries=sorted(queries)
                    )
        if shared or not failed:
            self.telemetry.set("etl_sink_shared_buckets", shared)
        failed.tell()
        self._check_at = self.clock() + CHECK_EVERY_SECONDS

    def _others(self, bucket: str) -> dict[str, set[str]]:
        """Our queries whose series another pipeline may write, by the name of that pipeline."""
        since_ms = int((self.wall_clock() - ACTIVE_SECONDS) * 1000)
        body = self.reader.query(
            bucket,
            Select(
                ("value", "reads"),
                MEASUREMENT,
                after_ms=since_ms,
                last_by=("pipeline", "query"),
            ),
        )
        found: dict[str, set[str]] = {}
        for series in series_of(body, bucket):
            try:
                tags, row = series["tags"], series["values"][0]
                pipeline, query = str(tags["pipeline"]), str(tags["query"])
                reads = str(row[2] or "")
            except (LookupError, TypeError) as error:
                raise SinkError(f"{bucket}: no watermark: {error!r}") from None
            if pipeline in ("", self.reader.pipeline):
                continue
            if same := {ours for ours in self.reads if self._may_meet(ours, query, reads)}:
                found.setdefault(pipeline, set()).update(same)
        if self._has_namesake(bucket):
            found[self.reader.pipeline] = set(self.reads)
        return found

    def _may_meet(self, ours: str, theirs: str, their_selector: str) -> bool:
        """Whether one of our queries and one of theirs can write the same series."""
        try:
            one = parse_selector(self.reads[ours]) if self.reads[ours] else None
            other = parse_selector(their_selector) if their_selector else None
        except ConfigError:
            return ours == theirs
        if one is not None and other is not None:
            return disjoint_label(one, other) is None
        if one is None and other is None:
            return ours == theirs
        # An expr is written to the measurement of its own name.
        selector, name = (other, ours) if other is not None else (one, theirs)
        return selector is not None and selector.pins_names and selector.names_can_be(name)

    def _has_namesake(self, bucket: str) -> bool:
        """Whether another Redis holds a pipeline of our name that goes on writing beside us.

        The points of a Redis that lost its data end where ours begin; those of another go on. So
        do those of other shards that ours has taken over: it begins with its present shard.
        """
        since_ms = int((self.wall_clock() - 2 * CHECK_EVERY_SECONDS) * 1000)
        same = {"shard": self.shard} if self.shard else {}
        body = self.reader.query(
            bucket,
            Select(
                ("run", "shard"),
                MEASUREMENT,
                {"pipeline": self.reader.pipeline, **same},
                after_ms=since_ms,
                newest_first=True,
                limit=2000,
            ),
        )
        rows = [row for series in series_of(body, bucket) for row in _rows(series)]
        runs = [(row[1], row[2] or "") for row in reversed(rows) if row[1]]
        ours = self.run_id(), self.shard
        first = runs.index(ours) if ours in runs else len(runs)
        return any(run != ours[0] for run, _ in runs[first:])


def run_id(redis: Redis, keys: Keys) -> str:
    """The random word that names what lies in Redis; made here if there is none yet."""
    redis.set(keys.run_id, uuid.uuid4().hex, nx=True)
    found: Any = redis.get(keys.run_id)
    return text_of(found)


def _rows(series: dict[str, Any]) -> list[list[Any]]:
    rows = series.get("values")
    if not isinstance(rows, list) or not all(isinstance(r, list) and len(r) > 2 for r in rows):
        raise SinkError(f"no watermarks: {json.dumps(series)[:100]}")
    return rows
