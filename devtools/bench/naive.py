"""The baseline: the same three stages as one would write them first.

One JSON document for each sample, one XADD for each document, one ``Point`` for each sample, and
otherwise sensible: connections are kept, streams are read and acknowledged in batches, and
influxdb-client gets batches of the size that it chooses itself. ``pipelined`` sends the XADDs of a
batch through redis-py's pipeline too, which spares most of the round trips. It keeps no ledger and
would lose data in a crash.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import requests
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write.point import Point
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from redis import Redis

from common.errors import StackError
from devtools.bench.data import SELECTOR, STEP_MS
from devtools.bench.limits import windows_of
from devtools.bench.machine import Meter, beyond_idle
from devtools.bench.rig import ORG, Rig

GROUP = "naive"
RAW = "naive:raw"
POINTS = "naive:points"
# What influxdb-client writes at a time when it is left to itself (WriteOptions.batch_size).
BATCH = 1000


def extract(redis: Redis, url: str, windows: Iterable[tuple[int, int]], add: Adder) -> int:
    """Ask for each window; a document for each sample."""
    samples = 0
    with requests.Session() as session:
        session.trust_env = False
        for start_ms, end_ms in windows:
            response = session.get(
                f"{url}/api/v1/query",
                params={"query": f"{SELECTOR}[{end_ms - start_ms}ms]", "time": str(end_ms / 1000)},
                timeout=30,
            ).json()
            documents = (
                {"labels": series["metric"], "time": seconds, "value": value}
                for series in response["data"]["result"]
                for seconds, value in series["values"]
            )
            samples += add(redis, RAW, documents)
    return samples


def transform(redis: Redis, add: Adder) -> None:
    """Each document becomes that of a point: measurement, tags, value, time in ms."""
    for ids, documents in _read(redis, RAW):
        points = []
        for document in documents:
            tags = dict(document["labels"])
            points.append(
                {
                    "measurement": tags.pop("__name__"),
                    "tags": tags,
                    "value": float(document["value"]),
                    "time": round(document["time"] * 1000),
                }
            )
        add(redis, POINTS, points)
        redis.xack(RAW, GROUP, *ids)


def load(redis: Redis, url: str, bucket: str) -> int:
    """Each document becomes a ``Point``; a batch of them is written at a time."""
    written = 0
    with InfluxDBClient(url=url, token="", org=ORG) as client:
        writer = client.write_api(write_options=SYNCHRONOUS)
        for ids, documents in _read(redis, POINTS):
            points = []
            for document in documents:
                point = Point(document["measurement"])
                for key, value in document["tags"].items():
                    point = point.tag(key, value)
                point = point.field("value", document["value"])
                points.append(point.time(document["time"], WritePrecision.MS))
            writer.write(bucket=bucket, record=points, write_precision=WritePrecision.MS)
            redis.xack(POINTS, GROUP, *ids)
            written += len(points)
    return written


Adder = Callable[[Redis, str, Iterable[Any]], int]


def add_each(redis: Redis, stream: str, documents: Iterable[Any]) -> int:
    """One XADD, and its round trip, for each document."""
    added = 0
    for document in documents:
        redis.xadd(stream, {"json": json.dumps(document)})
        added += 1
    return added


def add_pipelined(redis: Redis, stream: str, documents: Iterable[Any]) -> int:
    """One XADD for each document, a round trip for each batch."""
    added, rest = 0, iter(documents)
    while batch := list(itertools.islice(rest, BATCH)):
        pipeline = redis.pipeline(transaction=False)
        for document in batch:
            pipeline.xadd(stream, {"json": json.dumps(document)})
        pipeline.execute()
        added += len(batch)
    return added


def _read(redis: Redis, stream: str) -> Iterator[tuple[Sequence[bytes], list[Any]]]:
    """Batches of documents and their ids, until the stream has no more."""
    while True:
        reply: Any = redis.xreadgroup(GROUP, "worker", {stream: ">"}, count=BATCH)
        if not reply:
            return
        entries = reply[0][1]
        yield [id_ for id_, _ in entries], [json.loads(fields[b"json"]) for _, fields in entries]


def run(rig: Rig, *, pipelined: bool = False, newest: int | None = None) -> dict[str, float]:
    """One run over the dataset of ``rig``, a stage after the other in this process.

    That is kind to it: nothing competes for the cores. Figures as :func:`product.drain` names them.
    ``newest`` is how many windows at most are read at all, from the newest on.
    """
    bucket = rig.fresh_bucket()
    at_rest = rig.settle()
    windows = windows_of(rig, min(60, rig.dataset.samples))[:newest]
    add = add_pipelined if pipelined else add_each
    points = rig.dataset.series * sum(end - start for start, end in windows) // STEP_MS
    with rig.client() as redis:
        for stream in (RAW, POINTS):
            redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
        servers = {"redis": rig.redis.pid, "prometheus": rig.prometheus.pid, **rig.sink_pids}
        meter = Meter(servers)
        began = time.process_time()
        extracted = extract(redis, rig.prometheus.url, windows, add)
        transform(redis, add)
        loaded = load(redis, rig.sink_url, bucket)
        stages = time.process_time() - began
        seconds, cpu = meter.taken()
        stored_bytes = redis.memory_usage(RAW, samples=0)
    if (extracted, loaded) != (points, points):
        raise StackError(f"of {points} points the naive pipeline read {extracted}, wrote {loaded}")
    cpu = beyond_idle(seconds, cpu, at_rest)
    return {
        "points": float(points),
        "points_per_second": points / seconds,
        "cpu.stages": stages / points * 1e6,
        "cpu.redis": cpu["redis"] / points * 1e6,
        "cpu.etl": (stages + cpu["redis"]) / points * 1e6,
        "cpu.prometheus": cpu["prometheus"] / points * 1e6,
        "cpu.sink": sum(cpu[name] for name in rig.sink_pids) / points * 1e6,
        "bytes.raw": float(stored_bytes or 0) / points,
    }
