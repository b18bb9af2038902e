"""Two shards that become one pipeline again, on the Redis of one of them and on a new one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from devtools.servers.binaries import Toolbox
from devtools.servers.redis_server import RedisServer
from devtools.servers.stack import PIPELINE, LocalStack
from tests.e2e.conftest import QUICK
from tests.e2e.pipeline import Pipeline

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(300)]

# Falls to the second of two shards; one of the metrics that it reads.
MOVED, METRIC = "test_app", "http_requests_total"


class Pipelines:
    """What runs on one source and one sink, each pipeline on a Redis of its own."""

    def __init__(self, stack: LocalStack, toolbox: Toolbox, folder: Path) -> None:
        self.stack = stack
        self._redis = {"first": stack.redis}
        for name in ("second", "third"):
            self._redis[name] = RedisServer(
                toolbox, folder / name, name=name, password=stack.redis.password
            )

    def __enter__(self) -> Pipelines:
        for server in self._redis.values():
            server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.stop_services()
        for server in self._redis.values():
            server.stop()

    def on(self, redis: str, environ: Mapping[str, str]) -> Pipeline:
        server = self._redis[redis]
        own = {"ETL__PIPELINE__REDIS_URL": server.plain_url, **environ}
        pipeline = Pipeline(self.stack, server.client(), own)
        pipeline.patience_seconds = 120.0
        return pipeline

    def start(self, pipeline: Pipeline) -> None:
        started = [
            self.stack.start_service(module, environ=pipeline.environ, wait=False)
            for module in PIPELINE
        ]
        for service in started:
            service.wait_ready()
        # The first shard has ten series.
        pipeline.until_flowing(20)


@pytest.fixture(scope="module")
def pipelines(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipelines]:
    folder = tmp_path_factory.mktemp("shards")
    with (
        LocalStack(folder / "stack", toolbox=toolbox, config_overrides=QUICK) as stack,
        Pipelines(stack, toolbox, folder) as pipelines,
    ):
        yield pipelines


@pytest.fixture(scope="module")
def began_ms(pipelines: Pipelines) -> int:
    """When both shards had begun; they have stopped, and the second had samples in flight."""
    shards = [
        pipelines.on(redis, {"ETL__PIPELINE__SHARD": shard})
        for redis, shard in (("first", "1/2"), ("second", "2/2"))
    ]
    for shard in shards:
        pipelines.start(shard)
    began_ms = max(feed.origin_ms for shard in shards for feed in shard.feeds().values())
    for shard in shards:
        assert shard.prove(began_ms)["verdict"] == "equal"
    second = shards[1]
    pipelines.stack.services["loader"][-1].kill()
    second.until(lambda: second.audit().total.in_flight, "samples are in flight")
    pipelines.stack.stop_services()
    assert second.audit().total.in_flight
    return began_ms


def test_two_shards_become_one_on_the_redis_of_one(pipelines: Pipelines, began_ms: int) -> None:
    whole = pipelines.on("first", {})
    refused = whole.etlctl("identity")
    assert refused.returncode == 1
    assert "--accept" in refused.stderr
    assert whole.etlctl("identity", "--accept").returncode == 0
    pipelines.start(whole)

    report = whole.prove(began_ms)

    assert report["verdict"] == "equal", report
    assert len(report["queries"]) == len(whole.config()["extract"]["queries"])


def test_what_came_late_to_a_query_that_moved_is_loaded_by_a_backfill(
    pipelines: Pipelines, began_ms: int
) -> None:
    """Its recounts were in the Redis that it has left; before its first window nothing is due."""
    whole = pipelines.on("first", {})
    origin_ms = whole.feeds()[f"{MOVED}@hot"].origin_ms
    assert origin_ms > began_ms
    influx, bucket = pipelines.stack.influx, whole.bucket()
    older = f"FROM {METRIC} WHERE time > {began_ms}ms AND time <= {origin_ms}ms"
    points = influx.query(f"SELECT value {older} GROUP BY *", database=bucket, epoch="ms")
    assert points
    influx.query(older.replace("FROM", "DELETE FROM", 1), database=bucket)

    until_then = ("--from", str(began_ms / 1000), "--to", str(origin_ms / 1000))
    report = json.loads(whole.etlctl("verify", *until_then, "--json").stdout)
    assert report["verdict"] == "explained", report
    (query,) = (one for one in report["queries"] if one["query"] == MOVED)
    assert query["explained"]["missing"] == {"before_origin": query["missing"]}
    done = whole.etlctl("backfill", "--from", str(began_ms / 1000), "--query", MOVED)

    assert done.returncode == 0, done.stdout + done.stderr
    assert whole.prove(began_ms)["verdict"] == "equal"


def test_a_new_redis_goes_on_where_both_ended(pipelines: Pipelines, began_ms: int) -> None:
    pipelines.stack.stop_services()
    whole = pipelines.on("third", {})
    pipelines.start(whole)

    assert whole.prove(began_ms)["verdict"] == "equal"
