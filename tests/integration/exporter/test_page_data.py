"""What /status.json says of a pipeline in a real Redis."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from common.state.keys import Keys
from common.state.proven import Proven
from common.state.workers import Workers
from devtools.servers.redis_server import RedisServer
from services.exporter.page.links import Links
from services.exporter.page.pipeline import PipelineBoard
from services.exporter.page.routes import whole
from tests.integration.exporter.exporter_world import Rig
from tests.integration.exporter.page_world import running_pipeline

Document = dict[str, Any]

HOSTILE = "<img src=x onerror=alert(1)>\"'&</script>"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A pipeline in Redis, and the board that shows it."""

    def __init__(self, server: RedisServer, client: redis.Redis, keys: Keys) -> None:
        self.client, self.keys, self.clock = client, keys, Clock()
        self._url = server.plain_url
        self.begin()

    def begin(self) -> None:
        """A new etl-metrics: what the verifier has found is read once a minute."""
        self.board = PipelineBoard(self.clock, lambda: 1_800_000_000 + self.clock.now)
        # So rarely that each step reads all, however long the last one took.
        self.rig = Rig(
            self._url, self.keys, poll_seconds=3600, show=self.board.show, timeout_seconds=10
        )

    def look(self) -> Document:
        """The pipeline after another reading."""
        self.rig.step()
        return self.document()

    def document(self) -> Document:
        found = whole({"pipeline": self.board.document}, Links(), 0)
        json.dumps(found, allow_nan=False)
        assert found["verdict"] == found["pipeline"]["verdict"]
        pipeline: Document = found["pipeline"]
        return pipeline

    def kinds(self) -> list[str]:
        return [one["kind"] for one in self.look()["findings"]]


@pytest.fixture
def world(redis_server: RedisServer, redis_client: redis.Redis, redis_namespace: str) -> World:
    keys = Keys(redis_namespace)
    running_pipeline(redis_client, keys)
    return World(redis_server, redis_client, keys)


def test_what_is_shown_of_a_pipeline_that_is_well(world: World) -> None:
    found = world.look()
    assert found["verdict"] == "well"
    status = found["status"]
    assert [(one["stage"], one["ready"], one["replicas"]) for one in status["stages"]] == [
        ("extractor", 1, 1),
        ("transformer", 1, 1),
        ("loader", 1, 1),
    ]
    assert status["stages"][0]["samples_per_second"] == 100
    ledger = {"extracted": 140, "loaded": 18, "dropped": {"nan": 5}, "dead_lettered": 7}
    assert status["ledger"] == {**ledger, "in_flight": 110, "imbalance": 0}
    assert status["dead_letters"] == {
        "kept": 1,
        "max": 1000,
        "reasons": [{"stage": "transformer", "reason": "rejected", "entries": 1, "samples": 7}],
    }
    first, second = status["feeds"]
    assert (first["query"], first["tier"], first["proven_up_to_ms"]) == ("q", "hot", None)
    assert first["coverage"]["strip"] == [["open", 50], ["loaded", 25], ["nothing", 25]]
    assert (second["loaded_up_to_ms"], second["backlog_seconds"]) == (None, 120)


def test_the_figures_are_kept(world: World) -> None:
    world.look()
    world.clock.now += 15
    world.client.hincrby(world.keys.ledger, "q@hot|extracted", 150)
    world.client.hincrby(world.keys.ledger, "q@hot|loaded", 150)
    history = world.look()["history"]
    places = [
        1 + history["columns"].index(f"{what}_per_second") for what in ("extracted", "loaded")
    ]
    assert [[row[place] for place in places] for row in history["rows"]] == [
        [None, None],
        [10.0, 10.0],
    ]


def test_what_etlctl_status_finds_is_found_here(world: World) -> None:
    assert world.kinds() == []
    workers = Workers(world.client, world.keys)
    most = {"etl_dead_letters_max": 1.0}
    workers.report("loader-1", "loader", False, {"sink": HOSTILE}, most)
    workers.report("transformer-1", "transformer", True, {}, most)
    proven = Proven(0).with_range(120_000, 180_000, 3, at_ms=1)
    world.client.hset(world.keys.verified, "q@hot", proven.encode())
    workers.forget("extractor-1")
    world.begin()
    assert set(world.kinds()) == {"differs", "dead_letters_full", "not_running", "not_ready"}
    said = [one["detail"] for one in world.document()["findings"]]
    assert any(HOSTILE in detail for detail in said)


def test_an_older_worker_that_reports_no_figures(world: World) -> None:
    key, names = world.keys.workers, ("extractor-1", "transformer-1", "loader-1")
    for name in names:
        document = json.loads(world.client.hget(key, name))  # type: ignore[arg-type]
        del document["figures"]
        world.client.hset(key, name, json.dumps(document))
    found = world.look()
    assert found["verdict"] == "well"
    assert found["status"]["dead_letters"]["max"] is None


def test_a_part_that_cannot_be_read_is_not_taken_for_well(world: World) -> None:
    world.client.set(world.keys.verified, "somebody else's")
    found = world.look()
    assert found["verdict"] == "cannot_tell"
    assert "proofs cannot be read" in found["findings"][-1]["detail"]
    assert found["status"] is not None
    world.client.delete(world.keys.workers)
    world.client.set(world.keys.workers, "somebody else's")
    found = world.look()
    assert found["verdict"] == "cannot_tell"
    assert found["status"] is None


def test_what_was_read_too_long_ago_is_not_shown_as_now(world: World) -> None:
    assert world.document()["first_line"] == (
        "Whether all is well cannot be told: Redis was not read yet."
    )
    assert world.look()["verdict"] == "well"
    world.clock.now += 7200
    found = world.document()
    assert found["verdict"] == "cannot_tell"
    assert "Redis was read 7200 s ago for the last time" in str(found["first_line"])


def test_redis_away_and_back(make_redis: Callable[..., RedisServer]) -> None:
    server, keys = make_redis(), Keys("etl")
    with server.client() as client:
        running_pipeline(client, keys)
        world = World(server, client, keys)
        assert world.look()["verdict"] == "well"
        server.kill()
        found = world.look()
        assert found["verdict"] == "cannot_tell"
        assert [one["kind"] for one in found["findings"]] == ["redis_unreadable"]
        server.start()
        client.flushall()
        running_pipeline(client, keys)
        assert world.look()["verdict"] == "well"
        world.rig.close()
