"""Real processes seal what they load: the sink holds what its own seals say."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from common.config.query import RESERVED_NAMES
from common.samples.columns import Samples
from common.samples.seal import Digest, series_key
from common.samples.seal_columns import digest
from services.loader.sealing import configurations
from services.loader.sealing.seals import MEASUREMENT
from tests.e2e.pipeline import Pipeline

pytestmark = pytest.mark.timeout(180)


def select(pipeline: Pipeline, statement: str) -> list[dict[str, Any]]:
    bucket = pipeline.config()["load"]["influxdb"]["bucket"]
    return pipeline.stack.influx.query(statement, database=bucket, epoch="ms")


def points_of(pipeline: Pipeline, where: str, start_ms: int, end_ms: int) -> Digest:
    """The digest of what the sink holds of some measurements in a window."""
    keys, columns = [], []
    bounds = f"time > {start_ms}ms AND time <= {end_ms}ms"
    for series in select(pipeline, f"SELECT value FROM {where} WHERE {bounds} GROUP BY *"):
        keys.append(series_key(series["name"], [(k, v) for k, v in series["tags"].items() if v]))
        times, values = zip(*series["values"], strict=True)
        times_ms, column = np.array(times, np.int64), np.array(values, np.float64)
        count = np.array([len(times)], np.int64)
        columns.append(Samples((b"",), count, times_ms, column))
    found = Samples.join(columns)
    return digest(keys, found.counts, found.timestamps_ms, found.values)


def test_the_sink_holds_what_its_seals_say(pipeline: Pipeline) -> None:
    pipeline.until_flowing(500)
    now_ms = pipeline.now_ms()
    pipeline.until_loaded_up_to(now_ms)

    def sealed() -> dict[str, list[dict[str, Any]]]:
        found = defaultdict(list)
        for series in select(pipeline, f'SELECT * FROM "{MEASUREMENT}"'):
            for row in series["values"]:
                seal = dict(zip(series["columns"], row, strict=True))
                found[seal["query"]].append(seal)
        return found

    feeds = {feed.query: feed for feed in pipeline.feeds().values()}
    pipeline.until(
        lambda: all(sealed().get(q) and sealed()[q][-1]["time"] >= now_ms for q in feeds),
        "every query is sealed up to then",
    )

    expressions = {q["name"] for q in pipeline.config()["extract"]["queries"] if "expr" in q}
    names = next(series["values"] for series in select(pipeline, "SHOW MEASUREMENTS"))
    measurements = {name for (name,) in names} - RESERVED_NAMES
    selected = measurements - expressions
    assert len(feeds.keys() - expressions) == 1, "whose points are all that no expr has"
    points = 0
    for query, seals in sealed().items():
        of_query = {query} if query in expressions else selected
        edges = [(seal["start_ms"], seal["time"]) for seal in seals if seal["time"] <= now_ms]
        assert edges[0][0] == feeds[query].origin_ms
        assert all(a[1] == b[0] for a, b in itertools.pairwise(edges)), "no hole"
        where = ",".join(f'"{name}"' for name in sorted(of_query))
        for seal in seals[: len(edges)]:
            found = points_of(pipeline, where, seal["start_ms"], seal["time"])
            assert (found.points, found.text) == (seal["points"], seal["digest"]), seal
            points += found.points
    assert points > 500

    noted = select(pipeline, f'SELECT "after" FROM "{configurations.MEASUREMENT}" GROUP BY "query"')
    assert {series["tags"]["query"] for series in noted} == set(feeds)
