"""Repairs by hand of what was read from a replica that has another URL by now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from common.config import load_settings
from common.state.history import ReplicasRead
from common.state.keys import Keys
from common.state.windows import Feed, WindowSet
from tests.integration.etlctl.verify.sealing import Sealer
from tests.integration.etlctl.verify.world import STEP_MS, Point, World
from tests.support.answering_server import AnsweringServer, Handler, reply

Capture = pytest.CaptureFixture[str]

GONE_URL = "http://gone:9090"


class Loaded:
    """All of a query is loaded, in three windows; the middle one from another replica."""

    def __init__(self, world: World, client: redis.Redis) -> None:
        world.queries = [{"name": "raw", "select": 'load{job="app"}'}]
        world.changes = {
            "extract.prometheus_url": None,
            "extract.replicas": [world.prometheus.url, "http://127.0.0.1:9"],
        }
        self.world, self.client, self.keys = world, client, Keys(world.namespace)
        keys = self.keys
        self.windows, record = WindowSet(client, keys), ReplicasRead(client, keys)
        (query,) = load_settings(world.config()).extract.queries
        self.feed = Feed("raw", "hot", query.kind, query.fingerprint("hot"))
        self.gone_ms = world.start_ms + 80 * STEP_MS, world.start_ms + 160 * STEP_MS
        sealer = Sealer(world)
        self.points = list(map(self._as_read, self._source()))
        world.write(self.points)
        urls = (world.prometheus.url, GONE_URL, world.prometheus.url)
        for end_ms, url in zip((*self.gone_ms, world.end_ms), urls, strict=True):
            self.windows.plan(self.feed, world.start_ms, end_ms, adopt=True)
            window = self.windows.lease(self.feed, "live", 10**12, 10**12)
            assert window is not None
            record.note(self.feed, window, url)
            assert self.windows.commit(self.feed, window, []) == "committed"
            sealer.seal((window.start_ms, window.end_ms), self.points)
        client.delete(keys.seals_due)

    def _source(self) -> Sequence[Point]:
        return [one for one in self.world.expected() if one[0][0] == "load"]

    def _as_read(self, point: Point) -> Point:
        """Another replica scrapes at other times."""
        series, time_ms, value = point
        return series, time_ms - 3 * (self.gone_ms[0] < time_ms <= self.gone_ms[1]), value

    def lose(self, time_ms: int) -> None:
        for (name, tags), at_ms, _ in self.points:
            if at_ms == time_ms:
                self.world.delete(name, dict(tags), at_ms)

    def run(self, capsys: Capture, *arguments: str, code: int) -> dict[str, Any]:
        result = self.world.run(capsys, *arguments, "--json")
        assert result.code == code, result.err
        found: dict[str, Any] = json.loads(result.out)
        return found

    @property
    def bounds(self) -> tuple[str, ...]:
        return (
            *("--from", str(self.world.start_ms / 1000)),
            *("--to", str((self.world.end_ms - STEP_MS) / 1000)),
        )

    @property
    def backlog(self) -> list[tuple[int, int]]:
        return list(self.windows.status()[self.feed.name].backlog)


@pytest.fixture
def loaded(world: World, redis_client: redis.Redis) -> Loaded:
    return Loaded(world, redis_client)


def fullest(handler: Handler) -> None:
    """A replica that has more samples of anything than any other."""
    of_names = "label" in handler.request_seen.path
    vector = {"resultType": "vector", "result": [{"metric": {}, "value": [0, "1000000"]}]}
    body = {"status": "success", "data": [] if of_names else vector}
    reply(json.dumps(body).encode())(handler)


def test_recount_counts_at_the_replica_that_each_window_was_read_from(
    loaded: Loaded, capsys: Capture
) -> None:
    with AnsweringServer(fullest) as other:
        urls = [loaded.world.prometheus.url, other.url]
        loaded.world.changes["extract.replicas"] = urls
        found = loaded.run(capsys, "recount", *loaded.bounds, code=0)
    (feed,) = found["feeds"]
    assert feed["compared_ms"] == 0
    # Nobody has what was read from the third, whatever the others count there.
    assert feed["not_kept_ms"] == [list(loaded.gone_ms)]


def test_verify_says_why_it_differs_and_repairs_nothing_of_it(
    loaded: Loaded, capsys: Capture
) -> None:
    found = loaded.run(capsys, "verify", "--repair", *loaded.bounds, code=6)
    (query,) = found["queries"]
    assert query["verdict"] == "explained"
    assert set(query["explained"]["missing"]) == {"replica_gone"}
    assert set(query["explained"]["extra"]) == {"replica_gone"}
    assert (found["repaired"], loaded.backlog) == ([], [])


def test_a_report_of_before_opens_nothing_of_it(
    loaded: Loaded, capsys: Capture, tmp_path: Path
) -> None:
    start_ms, end_ms = loaded.gone_ms
    near_ms = start_ms - STEP_MS, end_ms + STEP_MS
    tiers = {"hot": {"from_ms": loaded.world.start_ms, "to_ms": loaded.world.end_ms - STEP_MS}}
    file = tmp_path / "report.json"
    queries = [{"query": "raw", "tier": "hot", "unloaded_ms": [near_ms]}]
    file.write_text(json.dumps({"tiers": tiers, "queries": queries}), encoding="utf-8")

    found = loaded.run(capsys, "repair", str(file), "--wait-seconds", "0", code=7)

    assert loaded.backlog == [(loaded.world.start_ms, start_ms), (end_ms, loaded.world.end_ms)]
    (opened,) = found["repaired"]
    assert [(left["start_ms"], left["end_ms"]) for left in opened["left_out"]] == [loaded.gone_ms]
    assert "replica" in opened["left_out"][0]["why"]


def test_nothing_is_repaired_where_nobody_knows_which_one_was_read(
    loaded: Loaded, capsys: Capture
) -> None:
    loaded.client.delete(loaded.keys.replicas(loaded.feed.name))
    loaded.lose(loaded.gone_ms[0])
    found = loaded.run(capsys, "verify", "--repair", "--wait-seconds", "0", *loaded.bounds, code=1)
    assert loaded.backlog == []
    assert "replica" in found["repaired"][0]["left_out"][0]["why"]
