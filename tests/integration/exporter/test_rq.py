"""RQ's keys as etl-metrics reads them, held to the real package: a drift is noticed here."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
import redis
from prometheus_client import CollectorRegistry
from rq import Queue, SimpleWorker
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.serializers import JSONSerializer

from common.runtime.telemetry import Telemetry
from common.state.keys import Keys
from devtools.servers.redis_server import RedisServer
from services.exporter.rq_keys import (
    MAX_QUEUES,
    QUEUE_PREFIX,
    QUEUED,
    QUEUES_KEY,
    REGISTRY_KEYS,
    WORKERS_KEY,
    queue_lengths,
    workers_alive,
)
from services.extractor.job_table import QUEUES
from services.extractor.scheduler import Scheduler
from services.extractor.worker import Worker
from tests.integration.exporter.exporter_world import Rig

REGISTRIES = {
    "started": StartedJobRegistry,
    "deferred": DeferredJobRegistry,
    "scheduled": ScheduledJobRegistry,
    "finished": FinishedJobRegistry,
    "failed": FailedJobRegistry,
    "canceled": CanceledJobRegistry,
}


@pytest.fixture
def queue(redis_client: redis.Redis, redis_namespace: str) -> Queue:
    return Queue(f"{redis_namespace}-live", connection=redis_client, serializer=JSONSerializer)


def now() -> float:
    return datetime.now(UTC).timestamp()


def states(redis_client: redis.Redis, namespace: str) -> dict[str, int]:
    found = queue_lengths(redis_client, namespace)
    assert found.keys() == {"live"}
    return {state: jobs for state, jobs in found["live"].items() if jobs}


def test_the_names_of_the_keys(queue: Queue) -> None:
    assert Queue.redis_queues_keys == QUEUES_KEY
    assert Queue.redis_queue_namespace_prefix == QUEUE_PREFIX
    assert queue.key == f"{QUEUE_PREFIX}{queue.name}"
    assert REGISTRIES.keys() == REGISTRY_KEYS.keys()
    for state, registry in REGISTRIES.items():
        assert REGISTRY_KEYS[state].format(queue=queue.name) == registry(queue=queue).key


def test_jobs_in_each_state(queue: Queue, redis_client: redis.Redis, redis_namespace: str) -> None:
    first = queue.enqueue_call("builtins.len", args=([1],), result_ttl=500)
    second = queue.enqueue_call("builtins.len", args=(1,))
    third = queue.enqueue_call("builtins.len", args=([1],))
    assert states(redis_client, redis_namespace) == {QUEUED: 3}
    third.cancel()
    queue.enqueue_call("builtins.len", args=([1],), depends_on=second)
    queue.enqueue_in(timedelta(hours=1), "builtins.len", [1])
    assert states(redis_client, redis_namespace) == {
        QUEUED: 2,
        "canceled": 1,
        "deferred": 1,
        "scheduled": 1,
    }
    worker = SimpleWorker([queue], connection=redis_client, serializer=JSONSerializer)
    worker.work(burst=True, logging_level=None)
    assert first.is_finished
    assert states(redis_client, redis_namespace) == {
        "finished": 1,
        "failed": 1,
        "canceled": 1,
        "deferred": 1,
        "scheduled": 1,
    }


def test_a_started_job(queue: Queue, redis_client: redis.Redis, redis_namespace: str) -> None:
    job = queue.enqueue_call("builtins.len", args=([1],))
    worker = SimpleWorker([queue], connection=redis_client, serializer=JSONSerializer)
    assert queue.pop_job_id() == job.id
    worker.register_birth()  # type: ignore[no-untyped-call]
    worker.prepare_execution(job)
    assert states(redis_client, redis_namespace) == {"started": 1}


def test_the_queues_of_the_extractor(redis_client: redis.Redis, redis_namespace: str) -> None:
    scheduler = Scheduler(redis_client, Keys(redis_namespace))
    for name in QUEUES:
        scheduler.schedule(name, 1)
    found = queue_lengths(redis_client, redis_namespace)
    assert {name: jobs[QUEUED] for name, jobs in found.items()} == dict.fromkeys(QUEUES, 1)


def test_other_pipelines_and_strangers_are_not_ours(
    queue: Queue, redis_client: redis.Redis, redis_namespace: str
) -> None:
    queue.enqueue_call("builtins.len", args=([1],))
    for other in (f"{redis_namespace}-b-live", f"{redis_namespace}x-live", "default", "x"):
        Queue(other, connection=redis_client).enqueue_call("builtins.len", args=([1],))
    redis_client.sadd(QUEUES_KEY, f"{QUEUE_PREFIX}{redis_namespace}-0x17 Ü", b"\xff\xfe")
    assert list(queue_lengths(redis_client, redis_namespace)) == ["live"]


def test_a_heap_of_queues_makes_no_heap_of_series(
    redis_client: redis.Redis, redis_namespace: str
) -> None:
    names = [f"{QUEUE_PREFIX}{redis_namespace}-q{number}" for number in range(500)]
    redis_client.sadd(QUEUES_KEY, *names)
    assert len(queue_lengths(redis_client, redis_namespace)) == MAX_QUEUES


def test_a_live_worker_of_the_extractor_is_counted(
    redis_server: RedisServer, redis_client: redis.Redis, redis_namespace: str
) -> None:
    """The extractor's own worker class, at its birth, some time later, and after its death."""
    scheduler = Scheduler(redis_client, Keys(redis_namespace))
    scheduler.schedule("plan", 1)
    queues = [scheduler.queues[name] for name in QUEUES]

    def worker(name: str) -> Worker:
        telemetry = Telemetry("extractor", CollectorRegistry())
        return Worker(queues, redis_client, {}, threading.Event(), lambda: None, name, telemetry)

    one, other = worker("extractor-one"), worker("extractor-two")
    rig = Rig(redis_server.plain_url, Keys(redis_namespace))
    rig.step()
    assert rig.value("etl_workers", "extractor") == 0
    one.register_birth()  # type: ignore[no-untyped-call]
    other.register_birth()  # type: ignore[no-untyped-call]
    assert one.key.encode() in redis_client.smembers(WORKERS_KEY.format(queue=queues[0].name))
    rig.step()
    assert rig.value("etl_workers", "extractor") == 2
    assert rig.value("etl_rq_jobs", "plan", QUEUED) == 1
    assert workers_alive(redis_client, redis_namespace, now() + 61, 60) == 0
    other.heartbeat()
    other.register_death()  # type: ignore[no-untyped-call]
    rig.step()
    assert rig.value("etl_workers", "extractor") == 1
    rig.close()


@pytest.mark.parametrize("heartbeat", [b"", b"yesterday", b"\xff", None])
def test_a_worker_without_a_heartbeat_is_not_alive(
    queue: Queue, redis_client: redis.Redis, redis_namespace: str, heartbeat: bytes | None
) -> None:
    queue.enqueue_call("builtins.len", args=([1],))
    redis_client.sadd(WORKERS_KEY.format(queue=queue.name), "rq:worker:w")
    if heartbeat is not None:
        redis_client.hset("rq:worker:w", "last_heartbeat", heartbeat)
    assert workers_alive(redis_client, redis_namespace, now(), 60) == 0
